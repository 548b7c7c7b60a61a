/** Show a run with its steps, and each step's outcome under each spec. */
import type { VNode } from "preact";
import { formatUsd, humanize, shortenId } from "../data/format";
import { isObject, type Json } from "../data/json";
import { useSession } from "../data/session";
import type { Run, Spec, Step, StepOutcome } from "../data/types";
import { Link } from "./link";
import { renderInline } from "./markdown";
import { ReasonText } from "./reason";
import { Status } from "./status";
import { Time } from "./time";

const NAMES = ["company_name", "target_company_name", "person_full_name", "full_name", "name"];
const DOMAINS = ["domain", "company_domain", "target_company_domain", "canonical_domain", "person_linkedin_url"];

/** Return a title for a run: the names and the domain in its input, under the keys that inputs usually have. */
function describeInput(input: Json): string {
  if (!isObject(input)) return "";
  const texts = Object.entries(input).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  const find = (names: string[]): string[] =>
    names.flatMap((name) => texts.filter(([key]) => key === name).map(([, text]) => text));
  const words = [...new Set(find(NAMES)), ...find(DOMAINS).slice(0, 1)].filter(Boolean).slice(0, 3);
  return words.length > 0 ? words.join(" · ") : (texts[0]?.[1] ?? "");
}

export function RunCard({ run, heading = 2 }: { run: Run; heading?: 2 | 3 }): VNode {
  const Tag = `h${heading}` as "h2";
  return (
    <article class="card run">
      <div class="card-head">
        <Tag>{describeInput(run.input) || `Run ${shortenId(run.id)}`}</Tag>
        <Status of={run.status} />
        <p class="card-links quiet-text">
          <Time at={run.created_at} />
          <Link to={["runs", run.submission_id]}>
            Submission <code>{shortenId(run.submission_id)}</code>
          </Link>
        </p>
      </div>
      {run.error_message && <p class="message-line">{renderInline(run.error_message)}</p>}
      <ol class="steps">
        {run.steps.map((step) => (
          <StepLine key={step.id} step={step} />
        ))}
      </ol>
    </article>
  );
}

export function StepLine({ step }: { step: Step }): VNode {
  const session = useSession();
  const unread = listUnreadSpecs(step, session.specs);
  return (
    <li>
      <div class="step-line">
        <Link to={["steps", step.id]}>{step.operation_id ?? `Step ${step.position}`}</Link>
        <Status of={step.status} />
        {step.result_status && step.result_status !== "found" && (
          <span class="quiet-text">{`found nothing: ${step.result_status}`}</span>
        )}
        {step.order && (
          <span class="quiet-text">
            {`${step.order.provider} ${step.order.processor}: ${step.order.status.replaceAll("_", " ")}`}
            {step.order.cost !== null && `, ${formatUsd(step.order.cost)}`}
          </span>
        )}
        {step.finished_at && (
          <span class="quiet-text">
            <Time at={step.finished_at} />
          </span>
        )}
      </div>
      {step.error_message && <p class="message-line">{renderInline(step.error_message)}</p>}
      {step.results.map((result) => (
        <OutcomeLine key={result.spec} result={result} />
      ))}
      {unread.map((spec) => (
        <p key={spec.name} class="outcome">
          <Status of="pending" /> {spec.title}: waits for the next sweep
        </p>
      ))}
    </li>
  );
}

/** Return the specs for which a step result is pending: those of its operation without a recorded outcome. */
export function listUnreadSpecs(step: Step, specs: Spec[]): Spec[] {
  if (step.status !== "succeeded" || step.result_status !== "found") return [];
  const read = new Set(step.results.map((result) => result.spec));
  return specs.filter((spec) => spec.operations.includes(step.operation_id ?? "") && !read.has(spec.name));
}

/** Show the outcome of a step result under a spec: links to its rows, or why there are none. */
function OutcomeLine({ result }: { result: StepOutcome }): VNode {
  const session = useSession();
  const spec = session.specs.find((candidate) => candidate.name === result.spec);
  const title = spec?.title ?? humanize(result.spec);
  const seen = new Set<string>();
  const reasons = result.reasons.filter((reason) => !seen.has(reason.message) && seen.add(reason.message));
  return (
    <div class="outcome">
      <p>
        <Status of={result.outcome} /> {title}
        {result.row_ids.map((id, index) => {
          const name = result.row_ids.length === 1 ? "the row" : `row ${index + 1}`;
          return (
            <span key={id}>
              {index ? ", " : ": "}
              <Link to={["rows", result.spec, id]} label={`${name} of ${title}`}>
                {name}
              </Link>
            </span>
          );
        })}
        {result.outcome === "superseded" && result.row_ids.length > 0 && " says what a newer result found"}
      </p>
      {reasons.length > 0 && (
        <ul class="reason-list">
          {reasons.slice(0, 5).map((reason) => (
            <li key={reason.message}>
              {reason.field && (
                <>
                  <code>{reason.field}</code>{" "}
                </>
              )}
              <ReasonText reason={reason} />
            </li>
          ))}
          {reasons.length > 5 && <li class="quiet-text">{`and ${reasons.length - 5} more`}</li>}
        </ul>
      )}
    </div>
  );
}
