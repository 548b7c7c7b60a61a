/** The page of one row: each value with its evidence and its source, the documents, and earlier versions. */
import type { VNode } from "preact";
import { buildPath, fetchJson } from "../data/api";
import { placeEvidence } from "../data/evidence";
import { humanize, shortenId } from "../data/format";
import { formatJson, isScalar, type Json } from "../data/json";
import { type Loaded, useLoad } from "../data/load";
import { nameOrganisation, useSession } from "../data/session";
import type { Cell, Column, Explanation, HistoryEntry, Organisation, Row, Spec } from "../data/types";
import { DocumentCard } from "../parts/document";
import { EvidenceNotes } from "../parts/evidence";
import { History } from "../parts/history";
import { Link } from "../parts/link";
import { renderInline } from "../parts/markdown";
import { Failed, Load, Loading } from "../parts/states";
import { Time } from "../parts/time";
import { CellValue, Fact } from "../parts/value";

interface RowProps {
  spec: Spec;
  id: string;
  organisation: Organisation;
}

export function RowPage({ spec, id, organisation }: RowProps): VNode {
  const session = useSession();
  const query = { org_id: nameOrganisation(session, organisation) };
  const path = `api/v1/${spec.slug}/${encodeURIComponent(id)}`;
  const row = useLoad(`row ${spec.name} ${id}`, async (signal) => {
    return (await fetchJson<Row>(buildPath(path, query), { signal })).data;
  });
  const explanation = useLoad(`explain ${spec.name} ${id}`, async (signal) => {
    return (await fetchJson<Explanation>(buildPath(`${path}/explain`, query), { signal })).data;
  });
  const history = useLoad(`history ${spec.name} ${id}`, async (signal) => {
    return (await fetchJson<HistoryEntry[]>(buildPath(`${path}/history`, query), { signal })).data;
  });
  return (
    <>
      <nav class="crumbs" aria-label="Way here">
        <Link to={["rows", spec.name]}>{spec.title}</Link>
      </nav>
      <Load of={row} what="Reading the row" heading={spec.title}>
        {(loaded) => <WholeRow {...{ spec, explanation, history }} row={loaded} />}
      </Load>
    </>
  );
}

interface WholeProps {
  spec: Spec;
  row: Row;
  explanation: Loaded<Explanation>;
  history: Loaded<HistoryEntry[]>;
}

function WholeRow({ spec, row, explanation, history }: WholeProps): VNode {
  const own = spec.columns.filter((column) => !column.provided);
  const documents = own.filter((column) => column.type === "jsonb");
  const cells = new Map((explanation.data?.cells ?? []).map((cell) => [cell.field, cell]));
  return (
    <>
      <h1>{nameRow(spec, row)}</h1>
      <p class="lead">
        Updated <Time at={row["updated_at"] as string} />
        {typeof row["source_step_result_id"] === "string" && (
          <>
            {" "}
            from step result{" "}
            <Link to={["steps", row["source_step_result_id"]]}>
              <code>{shortenId(row["source_step_result_id"])}</code>
            </Link>
          </>
        )}
        .
      </p>
      {explanation.data && explanation.data.state !== "sourced" && (
        <p class="note waiting-note">{renderInline(`${explanation.data.explanation}.`)}</p>
      )}
      <section class="card" aria-label="Columns">
        <dl class="columns">
          {own
            .filter((column) => column.type !== "jsonb")
            .map((column) => (
              <ColumnLine key={column.name} column={column} value={row[column.name]} cell={cells.get(column.name)} />
            ))}
        </dl>
        {explanation.state === "loading" && <Loading what="Asking where each value comes from" />}
        {explanation.state === "failed" && <Failed problem={explanation.problem} retry={explanation.reload} />}
      </section>
      {documents.map((column) => (
        <DocumentColumn
          key={column.name}
          column={column}
          value={row[column.name] ?? null}
          cell={cells.get(column.name)}
        />
      ))}
      <section class="card" aria-labelledby="history">
        <h2 id="history">History</h2>
        <Load of={history} what="Folding the row again">
          {(versions) => <History versions={versions} />}
        </Load>
      </section>
    </>
  );
}

/** Return a title for the row: its name column, or the values of its key. */
function nameRow(spec: Spec, row: Row): string {
  const names = spec.columns.filter((column) => /(^|_)name$/.test(column.name) && !column.provided && !column.key);
  const keys = spec.conflict.filter((name) => name !== "org_id");
  const words = [...names.map((column) => column.name).slice(0, 1), ...keys];
  const texts = words
    .map((name) => row[name])
    .filter((value): value is string => typeof value === "string" && value !== "");
  return texts.length ? [...new Set(texts)].join(" · ") : shortenId(row.id);
}

interface LineProps {
  column: Column;
  value: Json | undefined;
  cell: Cell | undefined;
}

function ColumnLine({ column, value, cell }: LineProps): VNode {
  return (
    <div>
      <dt title={column.description}>
        {humanize(column.name)} {column.key && <span class="key-mark">key</span>}
      </dt>
      <dd>
        <div class="column-value">
          {typeof value === "string" ? (
            <WholeText value={value} column={column} />
          ) : (
            <CellValue value={value} column={column} />
          )}
        </div>
        {cell && cell.evidence.length > 0 && <EvidenceNotes notes={cell.evidence} />}
        {cell && <CellWay cell={cell} />}
      </dd>
    </div>
  );
}

function WholeText({ value, column }: { value: string; column: Column }): VNode {
  return value.length > 150 && column.type === "text" ? <>{value}</> : <CellValue value={value} column={column} />;
}

/** Show where a cell comes from: its step result, the path, the raw value, and the result of each normalizer. */
function CellWay({ cell }: { cell: Cell }): VNode | null {
  if (!cell.step_result_id && !cell.path) return null;
  return (
    <details class="way">
      <summary>
        <span class="hidden">{humanize(cell.field)}: </span>where it comes from
      </summary>
      <dl class="facts">
        {cell.step_result_id && (
          <Fact name="Step result">
            <Link to={["steps", cell.step_result_id]}>
              <code>{shortenId(cell.step_result_id)}</code>
            </Link>
          </Fact>
        )}
        {cell.path && (
          <Fact name="Path">
            <code>{cell.path}</code>
          </Fact>
        )}
        <Fact name="The path gives">
          <RawValue value={cell.raw} />
        </Fact>
        {typeof cell.element === "number" && <Fact name="Element">{String(cell.element)}</Fact>}
        {cell.note && <Fact name="Note">{renderInline(cell.note)}</Fact>}
        {cell.steps.map((step, index) => (
          <Fact key={index} name={step.normalizer}>
            <RawValue value={step.result} />
          </Fact>
        ))}
      </dl>
    </details>
  );
}

function RawValue({ value }: { value: Json }): VNode {
  const text = formatJson(value, isScalar(value) ? 0 : 2);
  return text.length > 600 ? (
    <span>{`${text.length.toLocaleString("en-US")} characters of JSON`}</span>
  ) : (
    <code>{text}</code>
  );
}

interface DocumentProps {
  column: Column;
  value: Json;
  cell: Cell | undefined;
}

function DocumentColumn({ column, value, cell }: DocumentProps): VNode {
  return (
    <DocumentCard
      id={`column-${column.name}`}
      title={humanize(column.name)}
      value={value}
      evidence={placeEvidence(value, cell?.evidence ?? [])}
    >
      {column.description && <p class="quiet-text">{renderInline(column.description)}</p>}
      {cell && <CellWay cell={cell} />}
    </DocumentCard>
  );
}
