/** The form above a table of rows: search, filters, choice of columns, export. */
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { sendRequest } from "../data/api";
import { saveResponse, streamsFiles } from "../data/download";
import { humanize } from "../data/format";
import { toProblem } from "../data/load";
import { type Filter, OPERATOR_NAMES, type TableQuery } from "../data/table-query";
import type { Column, Spec } from "../data/types";

interface FormProps {
  spec: Spec;
  tableQuery: TableQuery;
  columns: Column[];
  changeQuery: (next: Partial<TableQuery>) => void;
  exportBody: Record<string, unknown>;
}

export function QueryForm({ spec, tableQuery, columns, changeQuery, exportBody }: FormProps): VNode {
  const [filters, setFilters] = useState<Filter[]>(tableQuery.filters);
  const [search, setSearch] = useState(tableQuery.search);
  const offered = spec.columns.filter((column) => column.operators.length > 0);
  const first = offered.find((column) => !column.provided) ?? offered[0];
  const submit = (event: Event): void => {
    event.preventDefault();
    changeQuery({
      filters: filters.filter((filter) => filter.value.trim() !== "" || filter.operator === "is"),
      search: search.trim(),
    });
  };
  const change = (index: number, filter: Filter | null): void => {
    setFilters(filters.flatMap((other, place) => (place === index ? (filter ?? []) : other)));
  };
  return (
    <form class="query-form" onSubmit={submit} role="search" aria-label={`Rows of ${spec.title}`}>
      {spec.search.length > 0 && (
        <label class="search-field">
          Search{" "}
          <input
            type="search"
            value={search}
            placeholder={spec.search.map((name) => humanize(name).toLowerCase()).join(", ")}
            onInput={(event) => {
              setSearch(event.currentTarget.value);
            }}
          />
        </label>
      )}
      {filters.map((filter, index) => (
        <FilterLine
          key={index}
          {...{ filter, offered, index }}
          change={(next) => {
            change(index, next);
          }}
        />
      ))}
      <div class="query-actions">
        {first && (
          <button
            type="button"
            onClick={() => {
              setFilters([...filters, { column: first.name, operator: first.operators[0] ?? "eq", value: "" }]);
            }}
          >
            Add a filter
          </button>
        )}
        {(filters.length > 0 || spec.search.length > 0) && (
          <button type="submit" class="primary">
            Show
          </button>
        )}
        {(tableQuery.filters.length > 0 || tableQuery.search) && (
          <button
            type="button"
            onClick={() => {
              changeQuery({ filters: [], search: "" });
            }}
          >
            Clear
          </button>
        )}
        <span class="spacer" />
        <ColumnChoice {...{ spec, columns, changeQuery }} isDefault={tableQuery.fields.length === 0} />
        <Export spec={spec} body={exportBody} />
      </div>
    </form>
  );
}

interface LineProps {
  filter: Filter;
  offered: Column[];
  index: number;
  change: (filter: Filter | null) => void;
}

function FilterLine({ filter, offered, index, change }: LineProps): VNode {
  const column = offered.find((candidate) => candidate.name === filter.column);
  const place = `filter ${index + 1}`;
  const choose = (name: string): void => {
    const next = offered.find((candidate) => candidate.name === name);
    const operator = next?.operators.includes(filter.operator) ? filter.operator : (next?.operators[0] ?? "eq");
    change({ column: name, operator, value: operator === "is" ? "not null" : filter.value });
  };
  return (
    <div class="filter-line" role="group" aria-label={humanize(place)}>
      <select
        aria-label={`Column of ${place}`}
        value={filter.column}
        onChange={(event) => {
          choose(event.currentTarget.value);
        }}
      >
        {!column && <option value={filter.column}>{filter.column}</option>}
        {offered.map((option) => (
          <option key={option.name} value={option.name}>
            {humanize(option.name)}
          </option>
        ))}
      </select>
      <select
        aria-label={`Comparison of ${place}`}
        value={filter.operator}
        onChange={(event) => {
          const operator = event.currentTarget.value;
          change({
            ...filter,
            operator,
            value: operator === "is" ? "not null" : filter.operator === "is" ? "" : filter.value,
          });
        }}
      >
        {(column?.operators ?? [filter.operator]).map((operator) => (
          <option key={operator} value={operator}>
            {OPERATOR_NAMES[operator] ?? operator}
          </option>
        ))}
      </select>
      <FilterValue {...{ filter, column, place, change }} />
      <button
        type="button"
        class="plain"
        aria-label={`Remove ${place}`}
        onClick={() => {
          change(null);
        }}
      >
        ✕
      </button>
    </div>
  );
}

interface ValueProps {
  filter: Filter;
  column: Column | undefined;
  place: string;
  change: (filter: Filter) => void;
}

function FilterValue({ filter, column, place, change }: ValueProps): VNode {
  const label = `Value of ${place}`;
  const choices =
    filter.operator === "is" ? ["not null", "null"] : column?.type === "boolean" ? ["true", "false"] : null;
  const names: Record<string, string> = { "not null": "yes", null: "no", true: "yes", false: "no" };
  if (choices && filter.operator !== "in") {
    return (
      <select
        aria-label={label}
        value={filter.value}
        onChange={(event) => {
          change({ ...filter, value: event.currentTarget.value });
        }}
      >
        {!choices.includes(filter.value) && <option value={filter.value}>choose</option>}
        {choices.map((option) => (
          <option key={option} value={option}>
            {names[option]}
          </option>
        ))}
      </select>
    );
  }
  return (
    <input
      aria-label={label}
      value={filter.value}
      placeholder={filter.operator === "in" ? "values, with commas between" : (column?.type ?? "")}
      onInput={(event) => {
        change({ ...filter, value: event.currentTarget.value });
      }}
    />
  );
}

interface ColumnProps {
  spec: Spec;
  columns: Column[];
  isDefault: boolean;
  changeQuery: (next: Partial<TableQuery>) => void;
}

function ColumnChoice({ spec, columns, isDefault, changeQuery }: ColumnProps): VNode {
  const chosen = new Set(columns.map((column) => column.name));
  const toggle = (name: string): void => {
    const next = spec.columns.filter((column) => (column.name === name ? !chosen.has(name) : chosen.has(column.name)));
    if (next.length > 0) changeQuery({ fields: next.map((column) => column.name) });
  };
  return (
    <details class="menu">
      <summary>
        Columns <span class="quiet-text">{`${columns.length} of ${spec.columns.length}`}</span>
      </summary>
      <fieldset class="menu-body">
        <legend class="hidden">Columns to show</legend>
        {spec.columns.map((column) => (
          <label key={column.name} title={column.description}>
            <input
              type="checkbox"
              checked={chosen.has(column.name)}
              onChange={() => {
                toggle(column.name);
              }}
            />
            {humanize(column.name)}
          </label>
        ))}
        {!isDefault && (
          <button
            type="button"
            onClick={() => {
              changeQuery({ fields: [] });
            }}
          >
            The usual ones
          </button>
        )}
      </fieldset>
    </details>
  );
}

/** Seconds until the first row of an export has to come: as many as the API takes for a whole one. */
const EXPORT_SECONDS = 6 * 3600;
const FORMATS: [string, string, string][] = [
  ["CSV", "text/csv", "csv"],
  ["NDJSON", "application/x-ndjson", "ndjson"],
  ["Parquet", "application/vnd.apache.parquet", "parquet"],
];

/** Buttons that export all rows of the query as a file. */
function Export({ spec, body }: { spec: Spec; body: Record<string, unknown> }): VNode {
  const [state, setState] = useState("");
  const save = async (accept: string, ending: string): Promise<void> => {
    setState("exporting …");
    try {
      const options = { method: "POST", body, accept, seconds: EXPORT_SECONDS } as const;
      const response = await sendRequest(`api/v1/${spec.slug}/export`, options);
      await saveResponse(response, `${spec.slug}.${ending}`);
      setState("");
    } catch (error) {
      setState(toProblem(error).describe());
    }
  };
  return (
    <details class="menu">
      <summary>Export</summary>
      <div class="menu-body">
        <p class="quiet-text">Every row that matches, with the columns shown.</p>
        {!streamsFiles && (
          <p class="quiet-text">
            This browser has to hold the whole file in memory here. For large ones use <code>dex export</code>.
          </p>
        )}
        {FORMATS.map(([name, accept, ending]) => (
          <button key={name} type="button" onClick={() => void save(accept, ending)}>
            {name}
          </button>
        ))}
        <p role="status">{state}</p>
      </div>
    </details>
  );
}
