/** The page of a spec's rows. The address contains the query, so that a copied link shows the same rows. */
import type { VNode } from "preact";
import { type Address, buildAddress, navigate } from "../data/address";
import { fetchJson } from "../data/api";
import { formatCount, humanize } from "../data/format";
import { type Loaded, useLoad } from "../data/load";
import { buildBody, chooseColumns, PAGE_SIZE, type TableQuery, parseQuery, buildParameters } from "../data/table-query";
import { nameOrganisation, useSession } from "../data/session";
import type { Column, Organisation, PageMeta, Row, Spec } from "../data/types";
import { Link } from "../parts/link";
import { renderInline } from "../parts/markdown";
import { QueryForm } from "../parts/query-form";
import { Empty, Load } from "../parts/states";
import { CellValue, isNumeric } from "../parts/value";

interface RowsProps {
  spec: Spec;
  organisation: Organisation;
  address: Address;
}

interface Page {
  rows: Row[];
  meta: PageMeta;
}

export function RowsPage({ spec, organisation, address }: RowsProps): VNode {
  const session = useSession();
  const orgId = nameOrganisation(session, organisation);
  const tableQuery = parseQuery(address.query);
  const columns = chooseColumns(spec, tableQuery);
  const body = buildBody(spec, tableQuery, orgId);
  const asked = JSON.stringify(body);
  const page = useLoad(
    JSON.stringify([body, tableQuery.cursor, columns.map((column) => column.name)]),
    async (signal) => {
      const fields = [...new Set(["id", ...columns.map((column) => column.name)])];
      const whole = { ...body, fields, limit: PAGE_SIZE, ...(tableQuery.cursor ? { cursor: tableQuery.cursor } : {}) };
      const answer = await fetchJson<Row[], PageMeta>(`api/v1/${spec.slug}/query`, {
        method: "POST",
        body: whole,
        signal,
      });
      return { rows: answer.data, meta: answer.meta };
    },
    spec.name,
  );
  // A separate request, since the exact count reads every matching row, and the page should not wait for it.
  const count = useLoad(asked, async (signal) => {
    const whole = { ...body, fields: ["id"], limit: 1, count: "exact" };
    const answer = await fetchJson<Row[], PageMeta>(`api/v1/${spec.slug}/query`, {
      method: "POST",
      body: whole,
      signal,
    });
    return answer.meta.count ?? null;
  });
  const changeQuery = (next: Partial<TableQuery>): void => {
    navigate(buildAddress(["rows", spec.name], buildParameters({ ...tableQuery, cursor: null, ...next })));
  };
  return (
    <>
      <SpecTabs specs={session.specs} current={spec} />
      <div class="title-line">
        <h1>{spec.title}</h1>
        <Link to={["specs", spec.name]}>Spec</Link>
      </div>
      {spec.description && <p class="lead">{renderInline(spec.description)}</p>}
      <QueryForm
        key={JSON.stringify([tableQuery.filters, tableQuery.search])}
        {...{ spec, tableQuery, columns, changeQuery }}
        exportBody={{ ...body, fields: columns.map((column) => column.name) }}
      />
      <Load of={page} what="Asking for rows">
        {(loaded) => <RowTable {...{ spec, tableQuery, columns, changeQuery, count }} page={loaded} />}
      </Load>
    </>
  );
}

function SpecTabs({ specs, current }: { specs: Spec[]; current: Spec }): VNode {
  return (
    <nav class="tabs" aria-label="Specs">
      {specs.map((spec) => (
        <Link key={spec.name} to={["rows", spec.name]} current={spec === current}>
          {spec.title}
        </Link>
      ))}
    </nav>
  );
}

interface TableProps {
  spec: Spec;
  tableQuery: TableQuery;
  columns: Column[];
  page: Page;
  count: Loaded<number | null>;
  changeQuery: (next: Partial<TableQuery>) => void;
}

function RowTable({ spec, tableQuery, columns, page, count, changeQuery }: TableProps): VNode {
  const isFiltered = tableQuery.filters.length > 0 || tableQuery.search !== "";
  if (page.rows.length === 0) {
    return (
      <Empty title={isFiltered ? "No row matches" : "The table has no row yet"}>
        {isFiltered ? (
          <p>
            <Link to={["rows", spec.name]}>Show every row</Link>, or ask{" "}
            <Link to={["why"]}>why something is missing</Link>.
          </p>
        ) : (
          <p>
            Its research is in the <Link to={[]}>accounts</Link>, if there is any.
          </p>
        )}
      </Empty>
    );
  }
  return (
    <>
      <p class="count" role="status">
        {count.data !== null && count.state === "ready"
          ? `${formatCount(count.data)} ${count.data === 1 ? "row" : "rows"}${isFiltered ? " match" : ""}`
          : count.state === "failed"
            ? "too many rows to count now"
            : "counting …"}
      </p>
      <div class="scroll" tabIndex={0} role="region" aria-label={`Rows of ${spec.title}`}>
        <table class="rows">
          <thead>
            <tr>
              {columns.map((column) => (
                <ColumnHead key={column.name} {...{ column, tableQuery, changeQuery }} />
              ))}
            </tr>
          </thead>
          <tbody>
            {page.rows.map((row) => (
              <tr key={row.id}>
                {columns.map((column, index) => (
                  <td key={column.name} class={isNumeric(column) ? "number" : ""}>
                    {index === 0 ? (
                      <Link to={["rows", spec.name, row.id]}>
                        <PlainValue row={row} column={column} />
                      </Link>
                    ) : (
                      <CellValue value={row[column.name]} column={column} />
                    )}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <nav class="pager" aria-label="Pages of the table">
        {tableQuery.cursor && (
          <Link to={["rows", spec.name]} query={buildParameters({ ...tableQuery, cursor: null })}>
            First page
          </Link>
        )}
        {page.meta.next_cursor && (
          <Link to={["rows", spec.name]} query={buildParameters({ ...tableQuery, cursor: page.meta.next_cursor })}>
            Next page
          </Link>
        )}
      </nav>
    </>
  );
}

function PlainValue({ row, column }: { row: Row; column: Column }): VNode {
  const value = row[column.name];
  return typeof value === "string" && column.type !== "timestamptz" ? (
    <>{value}</>
  ) : (
    <CellValue value={value} column={column} />
  );
}

interface HeadProps {
  column: Column;
  tableQuery: TableQuery;
  changeQuery: (next: Partial<TableQuery>) => void;
}

/** The head of a column: a button if rows can be ordered by it (ascending, descending, then newest first again). */
function ColumnHead({ column, tableQuery, changeQuery }: HeadProps): VNode {
  const name = humanize(column.name);
  const direction =
    tableQuery.order[0] === column.name
      ? "ascending"
      : tableQuery.order[0] === `-${column.name}`
        ? "descending"
        : "none";
  if (!column.sortable) {
    return (
      <th scope="col" class={isNumeric(column) ? "number" : ""} title={column.description}>
        {name}
      </th>
    );
  }
  const next = { none: [column.name], ascending: [`-${column.name}`], descending: [] }[direction];
  return (
    <th scope="col" class={isNumeric(column) ? "number" : ""} aria-sort={direction} title={column.description}>
      <button
        type="button"
        class="sort"
        onClick={() => {
          changeQuery({ order: next });
        }}
      >
        {name}
        <span aria-hidden="true" class="arrow">
          {direction === "ascending" ? "▲" : direction === "descending" ? "▼" : "↕"}
        </span>
      </button>
    </th>
  );
}
