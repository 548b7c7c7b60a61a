/** Show any JSON value as headings, lists and tables, each part with the evidence for it. */
import type { ComponentChildren, VNode } from "preact";
import { useState } from "preact/hooks";
import { formatCount, formatInline, humanize, safeUrl } from "../data/format";
import { formatJson, isObject, isScalar, type Json, type JsonObject } from "../data/json";
import type { Evidence } from "../data/types";
import { EvidenceNotes } from "./evidence";
import { OutsideLink } from "./link";
import { Heading, isProse, Prose, renderInline } from "./markdown";

/** The most entries of a list or object shown before a click on "more", so that large documents open fast. */
const SHOWN = 40;
const DEEPEST = 12;
const MOST_TABLE_COLUMNS = 7;
const LONGEST_CELL = 240;

type EvidenceByPath = ReadonlyMap<string, Evidence[]>;
const NO_EVIDENCE: EvidenceByPath = new Map();

interface CardProps {
  id: string;
  title: string;
  value: Json;
  /** What is shown as JSON, where that is more than `value`. */
  whole?: Json;
  evidence?: EvidenceByPath;
  /** What stands above the document. */
  children?: ComponentChildren;
}

/** A card with a document, laid out to be read or as JSON. */
export function DocumentCard({ id, title, value, whole = value, evidence = NO_EVIDENCE, children }: CardProps): VNode {
  const [raw, setRaw] = useState(false);
  return (
    <section class="card" aria-labelledby={id}>
      <div class="card-head">
        <h2 id={id}>{title}</h2>
        <p class="card-links">
          <button
            type="button"
            class="plain"
            aria-pressed={raw}
            onClick={() => {
              setRaw(!raw);
            }}
          >
            {raw ? "Read it" : "As JSON"}
          </button>
        </p>
      </div>
      {children}
      {raw ? (
        <pre class="code" tabIndex={0}>
          {formatJson(whole)}
        </pre>
      ) : (
        <DocumentView value={value} level={3} evidence={evidence} />
      )}
    </section>
  );
}

interface PartProps {
  value: Json;
  path: string;
  level: number;
  evidence: EvidenceByPath;
}

function DocumentView({ value, level, evidence }: { value: Json; level: number; evidence: EvidenceByPath }): VNode {
  return (
    <div class="document">
      <WithEvidence path="" evidence={evidence}>
        <DocumentPart value={value} path="" level={level} evidence={evidence} />
      </WithEvidence>
    </div>
  );
}

function DocumentPart(props: PartProps): VNode {
  const { value, level } = props;
  if (Array.isArray(value)) return <ArrayView {...props} value={value} />;
  if (isObject(value)) return <ObjectView {...props} value={value} />;
  return <Scalar value={value} level={level} />;
}

function Scalar({ value, level }: { value: Json; level: number }): VNode {
  if (value === null || value === "") return <span class="none">–</span>;
  if (typeof value !== "string") return <span class="scalar">{formatInline(value)}</span>;
  if (safeUrl(value) && !/\s/.test(value)) return <OutsideLink url={value} />;
  return isProse(value) ? <Prose text={value} level={level} /> : <>{renderInline(value)}</>;
}

/** Show the short values of an object as a list of terms, then its objects and lists under headings. */
function ObjectView({ value, path, level, evidence }: Omit<PartProps, "value"> & { value: JsonObject }): VNode {
  const [shown, setShown] = useState(SHOWN);
  const entries = Object.entries(value);
  if (entries.length === 0) return <span class="none">nothing</span>;
  const visible = entries.slice(0, shown);
  const short = visible.filter(([, part]) => isShort(part));
  const long = visible.filter(([, part]) => !isShort(part));
  return (
    <>
      {short.length > 0 && (
        <dl class="facts">
          {short.map(([name, part]) => (
            <div key={name}>
              <dt title={name}>{humanize(name)}</dt>
              <dd>
                <WithEvidence path={joinPath(path, name)} evidence={evidence}>
                  <Scalar value={part} level={level} />
                </WithEvidence>
              </dd>
            </div>
          ))}
        </dl>
      )}
      {long.map(([name, part]) => (
        <section key={name} class="part">
          <Heading level={level}>{humanize(name)}</Heading>
          <WithEvidence path={joinPath(path, name)} evidence={evidence}>
            {level > DEEPEST ? (
              <pre>{JSON.stringify(part)}</pre>
            ) : (
              <DocumentPart value={part} path={joinPath(path, name)} level={level + 1} evidence={evidence} />
            )}
          </WithEvidence>
        </section>
      ))}
      <More total={entries.length} shown={shown} setShown={setShown} />
    </>
  );
}

function ArrayView({ value, path, level, evidence }: Omit<PartProps, "value"> & { value: Json[] }): VNode {
  const [shown, setShown] = useState(SHOWN);
  if (value.length === 0) return <span class="none">none</span>;
  const visible = value.slice(0, shown);
  const columns = findTableColumns(value, path, evidence);
  const more = <More total={value.length} shown={shown} setShown={setShown} />;
  if (columns) {
    return (
      <>
        <ObjectTable rows={visible as JsonObject[]} columns={columns} />
        {more}
      </>
    );
  }
  if (value.every(isScalar)) {
    return (
      <>
        <ul class="items">
          {visible.map((part, index) => (
            <li key={index}>
              <WithEvidence path={joinPath(path, String(index))} evidence={evidence}>
                <Scalar value={part} level={level} />
              </WithEvidence>
            </li>
          ))}
        </ul>
        {more}
      </>
    );
  }
  return (
    <>
      <ol class="elements">
        {visible.map((part, index) => (
          <li key={index}>
            <WithEvidence path={joinPath(path, String(index))} evidence={evidence}>
              <DocumentPart value={part} path={joinPath(path, String(index))} level={level + 1} evidence={evidence} />
            </WithEvidence>
          </li>
        ))}
      </ol>
      {more}
    </>
  );
}

function More({
  total,
  shown,
  setShown,
}: {
  total: number;
  shown: number;
  setShown: (next: number) => void;
}): VNode | null {
  if (total <= shown) return null;
  return (
    <button
      type="button"
      onClick={() => {
        setShown(shown * 5);
      }}
    >
      {`Show more: ${formatCount(shown)} of ${formatCount(total)} are shown`}
    </button>
  );
}

function ObjectTable({ rows, columns }: { rows: JsonObject[]; columns: string[] }): VNode {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={`Table of ${columns.map(humanize).join(", ")}`}>
      <table>
        <thead>
          <tr>
            {columns.map((name) => (
              <th key={name} scope="col" title={name}>
                {humanize(name)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, index) => (
            <tr key={index}>
              {columns.map((name) => (
                <td key={name} class={typeof row[name] === "number" ? "number" : ""}>
                  <Scalar value={row[name] ?? null} level={6} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Return the columns of a table for a list of similar objects with few, short values; null for any other list.
 *
 * A list whose elements have evidence of their own is not shown as a table.
 */
function findTableColumns(value: Json[], path: string, evidence: EvidenceByPath): string[] | null {
  if (value.length < 2 || hasEvidenceBelow(path, evidence)) return null;
  const columns = new Set<string>();
  for (const element of value) {
    if (!isObject(element)) return null;
    for (const [name, inner] of Object.entries(element)) {
      if (!isShort(inner) || formatInline(inner).length > LONGEST_CELL) return null;
      columns.add(name);
    }
    if (columns.size > MOST_TABLE_COLUMNS) return null;
  }
  return columns.size > 0 ? [...columns] : null;
}

function isShort(value: Json): boolean {
  return isScalar(value) && !(typeof value === "string" && (isProse(value) || value.length > 400));
}

function hasEvidenceBelow(path: string, evidence: EvidenceByPath): boolean {
  const prefix = `${path}.`;
  for (const known of evidence.keys()) if (known.startsWith(prefix)) return true;
  return false;
}

function joinPath(path: string, name: string): string {
  return path ? `${path}.${name}` : name;
}

function WithEvidence({
  path,
  evidence,
  children,
}: {
  path: string;
  evidence: EvidenceByPath;
  children: ComponentChildren;
}): VNode {
  const notes = evidence.get(path);
  if (!notes?.length) return <>{children}</>;
  return (
    <div class="believed">
      <div class="believed-value">{children}</div>
      <EvidenceNotes notes={notes} />
    </div>
  );
}
