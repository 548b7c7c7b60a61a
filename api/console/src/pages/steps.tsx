/** The pages of step results: those behind a count on the overview, and one step result with its payloads. */
import type { VNode } from "preact";
import type { Address } from "../data/address";
import { buildPath, fetchJson } from "../data/api";
import { formatCount, shortenId } from "../data/format";
import { isObject, type Json } from "../data/json";
import { useLoad } from "../data/load";
import { nameOrganisation, useSession } from "../data/session";
import type { ListedStep, Organisation, StepResult } from "../data/types";
import { DataTable, type TableColumn } from "../parts/data-table";
import { DocumentCard } from "../parts/document";
import { Link } from "../parts/link";
import { Pager } from "../parts/pager";
import { ReasonText } from "../parts/reason";
import { StepLine } from "../parts/runs";
import { Empty, Load } from "../parts/states";
import { Status } from "../parts/status";
import { Time } from "../parts/time";

const PAGE = 50;

const COLUMNS: TableColumn<ListedStep>[] = [
  {
    heading: "Step result",
    renderCell: (step) => (
      <Link to={["steps", step.step_result_id]}>
        <code>{shortenId(step.step_result_id)}</code>
      </Link>
    ),
  },
  { heading: "Recorded", renderCell: (step) => <Time at={step.recorded_at} /> },
  {
    heading: "Outcome",
    renderCell: (step) => (
      <>
        <Status of={step.outcome} />
        {step.refused ? <span class="quiet-text">{` ${formatCount(step.refused)} refused`}</span> : null}
      </>
    ),
  },
  { heading: "Reasons", renderCell: renderReasons, kind: "message" },
];

/** Show the first three reasons of a step result, and how many more there are. */
function renderReasons({ reasons }: ListedStep): VNode {
  return (
    <>
      {reasons.slice(0, 3).map((reason, index) => (
        <p key={index}>
          <ReasonText reason={reason} />
        </p>
      ))}
      {reasons.length > 3 && <p class="quiet-text">{`and ${reasons.length - 3} more`}</p>}
    </>
  );
}

interface StepsProps {
  address: Address;
  organisation: Organisation;
}

export function StepsPage({ address, organisation }: StepsProps): VNode {
  const session = useSession();
  const names = ["spec", "outcome", "code", "field", "offset"] as const;
  const query = Object.fromEntries(names.map((name) => [name, address.query.get(name)]));
  const path = buildPath("api/v1/coverage/steps", {
    ...query,
    limit: PAGE,
    org_id: nameOrganisation(session, organisation),
  });
  const loaded = useLoad(
    path,
    async (signal) => (await fetchJson<ListedStep[]>(path, { signal })).data,
    JSON.stringify([organisation.id, { ...query, offset: null }]),
  );
  const title = session.specs.find((spec) => spec.name === query["spec"])?.title ?? query["spec"] ?? "";
  const offset = Number(query["offset"] ?? 0) || 0;
  return (
    <>
      <nav class="crumbs" aria-label="Way here">
        <Link to={[]}>Overview</Link>
      </nav>
      <h1>Step results of {title}</h1>
      <p class="lead">
        {query["outcome"] && (
          <>
            <Status of={query["outcome"]} />{" "}
          </>
        )}
        {query["code"] && `because of: ${query["code"].replaceAll("_", " ")}`}
        {query["field"] && (
          <>
            {" of "}
            <code>{query["field"]}</code>
          </>
        )}
      </p>
      <Load of={loaded} what="Asking for step results">
        {(steps) => (
          <>
            {steps.length === 0 ? (
              <Empty title="There is none (any more)" />
            ) : (
              <DataTable label="Step results" columns={COLUMNS} rows={steps} getKey={(step) => step.step_result_id} />
            )}
            <Pager
              label="Pages of step results"
              to={["steps"]}
              query={query}
              offset={offset}
              pageSize={PAGE}
              count={steps.length}
            />
          </>
        )}
      </Load>
    </>
  );
}

export function StepPage({ id, organisation }: { id: string; organisation: Organisation }): VNode {
  const session = useSession();
  const path = buildPath(`api/v1/step-results/${encodeURIComponent(id)}`, {
    org_id: nameOrganisation(session, organisation),
  });
  const loaded = useLoad(path, async (signal) => (await fetchJson<StepResult>(path, { signal })).data);
  return (
    <>
      <nav class="crumbs" aria-label="Way here">
        <Link to={["runs"]}>Runs</Link>
        {loaded.data && <Link to={["runs", loaded.data.submission_id]}>Submission</Link>}
      </nav>
      <h1>
        Step result <code>{shortenId(id)}</code>
      </h1>
      <Load of={loaded} what="Reading the step result">
        {(step) => (
          <>
            <section class="card run" aria-label="What became of it">
              <ol class="steps">
                <StepLine step={step} />
              </ol>
            </section>
            {step.output_payload !== null && (
              <DocumentCard
                id="found"
                title="What it found"
                value={findOutput(step.output_payload)}
                whole={step.output_payload}
              />
            )}
            {step.input_payload !== null && (
              <DocumentCard id="given" title="What it was given" value={step.input_payload} />
            )}
          </>
        )}
      </Load>
    </>
  );
}

/**
 * Return the operation's output in a payload, without the context for later steps; the whole payload if it has none.
 */
function findOutput(payload: Json): Json {
  const result = isObject(payload) ? payload["operation_result"] : null;
  return isObject(result) && result["output"] !== undefined ? result["output"] : payload;
}
