/** Step results: those behind a number of the accounts, and one of them as a whole. */
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { Address } from "../data/address";
import { buildPath, request } from "../data/api";
import { formatCount, shortenId } from "../data/format";
import { formatJson, isObject, type Json } from "../data/json";
import { useLoad } from "../data/load";
import { nameOrganisation, useSession } from "../data/session";
import type { ListedStep, Organisation, StepResult } from "../data/types";
import { DocumentView } from "../parts/document";
import { Link } from "../parts/link";
import { renderInline } from "../parts/markdown";
import { StepLine } from "../parts/runs";
import { Empty, Load } from "../parts/states";
import { Status } from "../parts/status";
import { Time } from "../parts/time";

const PAGE = 50;
const NOTHING = new Map<string, never[]>();

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
  const loaded = useLoad(path, async (signal) => (await request<ListedStep[]>(path, { signal })).data, "steps");
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
            {steps.length === 0 ? <Empty title="There is none (any more)" /> : <StepTable steps={steps} />}
            <nav class="pager" aria-label="Pages of step results">
              {offset > 0 && (
                <Link to={["steps"]} query={{ ...query, offset: String(Math.max(offset - PAGE, 0)) }}>
                  Newer
                </Link>
              )}
              {steps.length === PAGE && (
                <Link to={["steps"]} query={{ ...query, offset: String(offset + PAGE) }}>
                  Older
                </Link>
              )}
            </nav>
          </>
        )}
      </Load>
    </>
  );
}

function StepTable({ steps }: { steps: ListedStep[] }): VNode {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Step results">
      <table>
        <thead>
          <tr>
            <th scope="col">Step result</th>
            <th scope="col">Recorded</th>
            <th scope="col">Outcome</th>
            <th scope="col">Reasons</th>
          </tr>
        </thead>
        <tbody>
          {steps.map((step) => (
            <tr key={step.step_result_id}>
              <td>
                <Link to={["steps", step.step_result_id]}>
                  <code>{shortenId(step.step_result_id)}</code>
                </Link>
              </td>
              <td>
                <Time at={step.recorded_at} />
              </td>
              <td>
                <Status of={step.outcome} />
                {step.refused ? <span class="quiet-text">{` ${formatCount(step.refused)} refused`}</span> : null}
              </td>
              <td class="message">
                {step.reasons.slice(0, 3).map((reason, index) => (
                  <p key={index}>
                    {renderInline(reason.message)}
                    {reason.value !== null && reason.value !== undefined && (
                      <>
                        : <code>{reason.value}</code>
                      </>
                    )}
                  </p>
                ))}
                {step.reasons.length > 3 && <p class="quiet-text">{`and ${step.reasons.length - 3} more`}</p>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function StepPage({ id, organisation }: { id: string; organisation: Organisation }): VNode {
  const session = useSession();
  const path = buildPath(`api/v1/step-results/${encodeURIComponent(id)}`, {
    org_id: nameOrganisation(session, organisation),
  });
  const loaded = useLoad(path, async (signal) => (await request<StepResult>(path, { signal })).data);
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
            <Payload title="What it found" value={findOutput(step.output_payload)} whole={step.output_payload} />
            <Payload title="What it was given" value={step.input_payload} whole={step.input_payload} />
          </>
        )}
      </Load>
    </>
  );
}

/** Return the operation's output; the context around it is what later steps are given. */
function findOutput(payload: Json): Json {
  const result = isObject(payload) ? payload["operation_result"] : null;
  return isObject(result) && result["output"] !== undefined ? result["output"] : payload;
}

function Payload({ title, value, whole }: { title: string; value: Json; whole: Json }): VNode | null {
  const [raw, setRaw] = useState(false);
  if (value === null) return null;
  return (
    <section class="card" aria-label={title}>
      <div class="card-head">
        <h2>{title}</h2>
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
      {raw ? (
        <pre class="code" tabIndex={0}>
          {formatJson(whole)}
        </pre>
      ) : (
        <DocumentView value={value} level={3} evidence={NOTHING} />
      )}
    </section>
  );
}
