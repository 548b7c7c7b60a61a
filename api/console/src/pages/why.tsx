/** The page that explains a domain or a name: its rows, or why there are none. */
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { type Address, buildAddress, navigate } from "../data/address";
import { buildPath, fetchJson } from "../data/api";
import { formatCount, humanize, shortenId } from "../data/format";
import { useLoad } from "../data/load";
import { nameOrganisation, useSession } from "../data/session";
import type { Column, KeyExplanation, KeyFinding, Organisation, Row, Run, Spec } from "../data/types";
import { Link } from "../parts/link";
import { renderInline } from "../parts/markdown";
import { listUnreadSpecs, RunCard } from "../parts/runs";
import { Load } from "../parts/states";
import { Status } from "../parts/status";
import { Time } from "../parts/time";

interface FoundRow {
  spec: Spec;
  row: Row;
}

interface SpecFinding {
  spec: Spec;
  finding: KeyFinding;
}

interface Known {
  rows: FoundRow[];
  findings: SpecFinding[];
  runs: Run[];
  /** How many runs were searched, and the oldest of them if there are older ones. */
  searched: number;
  lastSearched: string | null;
}

interface SearchMeta {
  searched?: number;
  last_searched?: string | null;
}

interface WhyProps {
  address: Address;
  organisation: Organisation;
}

export function WhyPage({ address, organisation }: WhyProps): VNode {
  const wanted = address.query.get("q")?.trim() ?? "";
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const text = new FormData(event.currentTarget as HTMLFormElement).get("q");
    if (typeof text === "string") navigate(buildAddress(["why"], { q: text.trim() }));
  };
  return (
    <>
      <h1>Why is it missing?</h1>
      <p class="lead">
        Type a domain or a name: was it asked for, is it running, what came of it, and where is the row.
      </p>
      <form class="why" role="search" aria-label="Why" onSubmit={submit}>
        <input
          name="q"
          type="search"
          aria-label="Domain or name"
          placeholder="acme.com"
          value={wanted}
          required
          maxLength={200}
        />
        <button type="submit" class="primary">
          Ask
        </button>
      </form>
      {wanted && <Answer key={wanted} wanted={wanted} organisation={organisation} />}
    </>
  );
}

function Answer({ wanted, organisation }: { wanted: string; organisation: Organisation }): VNode {
  const session = useSession();
  const orgId = nameOrganisation(session, organisation);
  const loaded = useLoad(`why ${organisation.id} ${wanted}`, async (signal): Promise<Known> => {
    const runsPath = buildPath("api/v1/runs", { q: wanted, limit: 20, org_id: orgId });
    const [runs, rows, findings] = await Promise.all([
      fetchJson<Run[], SearchMeta>(runsPath, { signal }),
      Promise.all(session.specs.map((spec) => findRows(spec, wanted, orgId, signal))),
      Promise.all(session.specs.map((spec) => explainKeys(spec, wanted, orgId, signal))),
    ]);
    return {
      rows: rows.flat(),
      findings: findings.flat(),
      runs: runs.data,
      searched: runs.meta.searched ?? 0,
      lastSearched: runs.meta.last_searched ?? null,
    };
  });
  return (
    <Load of={loaded} what="Looking everywhere">
      {(known) => (
        <>
          <Findings known={known} wanted={wanted} />
          {known.lastSearched && (
            <OlderRuns key={known.lastSearched} before={known.lastSearched} {...{ wanted, orgId }} />
          )}
        </>
      )}
    </Load>
  );
}

/** Offer to search older runs too: on request only, since inputs have no index and a history may be long. */
function OlderRuns({ wanted, orgId, before }: { wanted: string; orgId: string | null; before: string }): VNode {
  const [asked, setAsked] = useState(false);
  if (asked) return <MoreRuns {...{ wanted, orgId, before }} />;
  return (
    <p>
      <span class="quiet-text">Older runs were not looked at. </span>
      <button
        type="button"
        onClick={() => {
          setAsked(true);
        }}
      >
        Look at older runs
      </button>
    </p>
  );
}

function MoreRuns({ wanted, orgId, before }: { wanted: string; orgId: string | null; before: string }): VNode {
  const path = buildPath("api/v1/runs", { q: wanted, before, limit: 20, org_id: orgId });
  const loaded = useLoad(path, (signal) => fetchJson<Run[], SearchMeta>(path, { signal }));
  return (
    <Load of={loaded} what="Looking at older runs">
      {({ data, meta }) => (
        <>
          {data.map((run) => (
            <RunCard key={run.id} run={run} heading={3} />
          ))}
          {data.length === 0 && <p>None of the next {formatCount(meta.searched ?? 0)} runs mentions it.</p>}
          {meta.last_searched && <OlderRuns before={meta.last_searched} {...{ wanted, orgId }} />}
        </>
      )}
    </Load>
  );
}

/** Find the rows of a spec in which a key column, or another column with filters, equals the typed text. */
async function findRows(spec: Spec, wanted: string, orgId: string | null, signal: AbortSignal): Promise<FoundRow[]> {
  const columns = spec.columns.filter(
    (column) => !column.provided && column.type === "text" && column.operators.includes("eq"),
  );
  const light = spec.columns.filter((column) => column.type !== "jsonb").map((column) => column.name);
  const found = new Map<string, Row>();
  const answers = await Promise.allSettled(
    columns.map((column) => {
      const body = { [column.name]: wanted, fields: light, limit: 10, ...(orgId ? { org_id: orgId } : {}) };
      return fetchJson<Row[]>(`api/v1/${spec.slug}/query`, { method: "POST", body, signal });
    }),
  );
  for (const answer of answers) {
    // A 422 means that the column cannot have such a value, so no row has it.
    if (answer.status === "fulfilled") for (const row of answer.value.data) found.set(row.id, row);
  }
  return [...found.values()].map((row) => ({ spec, row }));
}

/** Explain the keys that have the typed text in one of their columns. */
async function explainKeys(
  spec: Spec,
  wanted: string,
  orgId: string | null,
  signal: AbortSignal,
): Promise<SpecFinding[]> {
  const columns = spec.columns.filter(
    (column) => column.key && !column.provided && column.type === "text" && !readsElement(column),
  );
  const answers = await Promise.allSettled(
    columns.map((column) => {
      const path = buildPath(`api/v1/${spec.slug}/explain`, { [column.name]: wanted, org_id: orgId });
      return fetchJson<KeyExplanation>(path, { signal });
    }),
  );
  const findings = new Map<string, KeyFinding>();
  for (const answer of answers) {
    if (answer.status === "fulfilled") {
      for (const finding of answer.value.data.known ?? []) findings.set(finding.step_result_id, finding);
    }
  }
  return [...findings.values()].map((finding) => ({ spec, finding }));
}

/**
 * Whether a column's path starts with `item`: a step result without the list says nothing about such a column's keys.
 */
function readsElement(column: Column): boolean {
  return column.sources.some((source) => /\b(item|parent)\b/.test(source.path ?? ""));
}

function Findings({ known, wanted }: { known: Known; wanted: string }): VNode {
  const session = useSession();
  const steps = new Set(known.runs.flatMap((run) => run.steps.map((step) => step.id)));
  const others = known.findings.filter(({ finding }) => !steps.has(finding.step_result_id));
  return (
    <>
      <p class="verdict" role="status">
        {summarizeResult(known, wanted, session.specs)}
      </p>
      {known.rows.length > 0 && (
        <section class="card" aria-labelledby="why-rows">
          <h2 id="why-rows">Here it is</h2>
          <ul class="found">
            {known.rows.map(({ spec, row }) => (
              <li key={row.id}>
                <Link to={["rows", spec.name, row.id]}>{nameKey(spec, row)}</Link>{" "}
                <span class="quiet-text">
                  {spec.title}, updated <Time at={row["updated_at"] as string} />
                </span>
              </li>
            ))}
          </ul>
        </section>
      )}
      {others.length > 0 && (
        <section class="card" aria-labelledby="why-known">
          <h2 id="why-known">Step results about it</h2>
          <ul class="found">
            {others.map(({ spec, finding }) => (
              <li key={`${spec.name} ${finding.step_result_id}`}>
                <Status of={finding.state} /> {spec.title}: {renderInline(finding.message)}{" "}
                <Link to={["steps", finding.step_result_id]}>
                  <code>{shortenId(finding.step_result_id)}</code>
                </Link>{" "}
                <span class="quiet-text">
                  <Time at={finding.recorded_at} />
                </span>
              </li>
            ))}
          </ul>
        </section>
      )}
      {known.runs.length > 0 && <h2 class="spaced">Runs that asked about it</h2>}
      {known.runs.map((run) => (
        <RunCard key={run.id} run={run} heading={3} />
      ))}
    </>
  );
}

function nameKey(spec: Spec, row: Row): string {
  const texts = spec.conflict
    .map((name) => row[name])
    .filter((value): value is string => typeof value === "string" && value !== row["org_id"]);
  return texts.join(" · ") || shortenId(row.id);
}

/** Summarize the result in one sentence, by the strongest finding. */
function summarizeResult(
  { rows, findings, runs, searched, lastSearched }: Known,
  wanted: string,
  specs: Spec[],
): string {
  if (rows.length > 0) return `“${wanted}” has rows.`;
  const steps = runs.flatMap((run) => run.steps);
  const outcomes = steps.flatMap((step) => step.results.map((result) => result.outcome));
  if (steps.some((step) => step.results.some((result) => result.row_ids.length > 0))) {
    return `“${wanted}” was asked for, and has rows.`;
  }
  const waiting = steps.some((step) => listUnreadSpecs(step, specs).length > 0) ? ["pending"] : [];
  const statuses = steps.map((step) => step.status);
  // Only the run's status tells queued from running; the finding about a step without a result does not.
  const listed = new Set(steps.map((step) => step.id));
  const found = findings
    .map(({ finding }) => finding)
    .filter((finding) => finding.state !== "running" || !listed.has(finding.step_result_id));
  const states = [...found.map((finding) => finding.state), ...outcomes, ...waiting, ...statuses];
  const first = [
    "rejected",
    "filtered",
    "pending",
    "failed",
    "ordered",
    "running",
    "queued",
    "not_listed",
    "superseded",
    "canceled",
  ].find((state) => states.includes(state));
  if (first) return `“${wanted}” has no row: ${REASONS[first] ?? humanize(first).toLowerCase()}.`;
  if (runs.length > 0) return `“${wanted}” was asked for, and no step of it gives a row.`;
  return lastSearched
    ? `“${wanted}” was not asked for lately: no row has it, and none of the newest ${formatCount(searched)} runs mentions it.`
    : `“${wanted}” was never asked for: no row has it, and no run mentions it.`;
}

const REASONS: Record<string, string> = {
  rejected: "what was found about it was rejected, for the reason below",
  filtered: "the spec leaves out what was found about it",
  pending: "its result waits for the next sweep",
  failed: "its research failed",
  ordered: "its research is ordered, and not answered yet",
  running: "its run is under way",
  queued: "its run waits for a runner",
  not_listed: "its answer lists nothing that has it",
  superseded: "a newer result does not have it any more",
  canceled: "its run was canceled",
};
