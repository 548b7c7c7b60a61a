/** The page of a spec's rows. The address contains the query, so that a copied link shows the same rows. */
import type { VNode } from "preact";
import { type Address, buildAddress, navigate } from "../data/address";
import { fetchJson } from "../data/api";
import { formatCount, humanize } from "../data/format";
import { type Loaded, useLoad } from "../data/load";
import { buildBody, chooseColumns, PAGE_SIZE, type Question, readQuestion, writeQuestion } from "../data/question";
import { nameOrganisation, useSession } from "../data/session";
import type { Column, Organisation, PageMeta, Row, Spec } from "../data/types";
import { Link } from "../parts/link";
import { renderInline } from "../parts/markdown";
import { QuestionForm } from "../parts/question-form";
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
  const question = readQuestion(address.query);
  const columns = chooseColumns(spec, question);
  const body = buildBody(spec, question, orgId);
  const asked = JSON.stringify(body);
  const page = useLoad(
    JSON.stringify([body, question.cursor, columns.map((column) => column.name)]),
    async (signal) => {
      const fields = [...new Set(["id", ...columns.map((column) => column.name)])];
      const whole = { ...body, fields, limit: PAGE_SIZE, ...(question.cursor ? { cursor: question.cursor } : {}) };
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
  const ask = (next: Partial<Question>): void => {
    navigate(buildAddress(["rows", spec.name], writeQuestion({ ...question, cursor: null, ...next })));
  };
  return (
    <>
      <SpecTabs specs={session.specs} current={spec} />
      <div class="title-line">
        <h1>{spec.title}</h1>
        <Link to={["specs", spec.name]}>Spec</Link>
      </div>
      {spec.description && <p class="lead">{renderInline(spec.description)}</p>}
      <QuestionForm
        key={JSON.stringify([question.filters, question.search])}
        {...{ spec, question, columns, ask }}
        exportBody={{ ...body, fields: columns.map((column) => column.name) }}
      />
      <Load of={page} what="Asking for rows">
        {(loaded) => <RowTable {...{ spec, question, columns, ask, count }} page={loaded} />}
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
  question: Question;
  columns: Column[];
  page: Page;
  count: Loaded<number | null>;
  ask: (next: Partial<Question>) => void;
}

function RowTable({ spec, question, columns, page, count, ask }: TableProps): VNode {
  const asksSomething = question.filters.length > 0 || question.search !== "";
  if (page.rows.length === 0) {
    return (
      <Empty title={asksSomething ? "No row matches" : "The table has no row yet"}>
        {asksSomething ? (
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
          ? `${formatCount(count.data)} ${count.data === 1 ? "row" : "rows"}${asksSomething ? " match" : ""}`
          : count.state === "failed"
            ? "too many rows to count now"
            : "counting …"}
      </p>
      <div class="scroll" tabIndex={0} role="region" aria-label={`Rows of ${spec.title}`}>
        <table class="rows">
          <thead>
            <tr>
              {columns.map((column) => (
                <ColumnHead key={column.name} {...{ column, question, ask }} />
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
        {question.cursor && (
          <Link to={["rows", spec.name]} query={writeQuestion({ ...question, cursor: null })}>
            First page
          </Link>
        )}
        {page.meta.next_cursor && (
          <Link to={["rows", spec.name]} query={writeQuestion({ ...question, cursor: page.meta.next_cursor })}>
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
  question: Question;
  ask: (next: Partial<Question>) => void;
}

/** The head of a column: a button if rows can be ordered by it (ascending, descending, then newest first again). */
function ColumnHead({ column, question, ask }: HeadProps): VNode {
  const name = humanize(column.name);
  const direction =
    question.order[0] === column.name ? "ascending" : question.order[0] === `-${column.name}` ? "descending" : "none";
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
          ask({ order: next });
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
