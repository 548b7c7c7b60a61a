/** The pages of runs: those of an organisation with their steps, and those of one submission. */
import type { VNode } from "preact";
import type { Address } from "../data/address";
import { buildPath, fetchJson } from "../data/api";
import { shortenId } from "../data/format";
import { useLoad } from "../data/load";
import { maySpend, nameOrganisation, useSession } from "../data/session";
import type { Organisation, Run } from "../data/types";
import { Link } from "../parts/link";
import { Pager } from "../parts/pager";
import { RunCard } from "../parts/runs";
import { Empty, Load } from "../parts/states";
import { StatusTabs } from "../parts/status";
import { SubmissionActions } from "../parts/submission-actions";

const STATUSES = ["queued", "running", "succeeded", "failed", "canceled"];
const PAGE = 25;

interface RunsProps {
  address: Address;
  organisation: Organisation;
}

export function RunsPage({ address, organisation }: RunsProps): VNode {
  const orgId = nameOrganisation(useSession(), organisation);
  const status = address.query.get("status");
  const offset = Number(address.query.get("offset") ?? 0) || 0;
  const path = buildPath("api/v1/runs", { status, offset, limit: PAGE, org_id: orgId });
  const loaded = useLoad(path, async (signal) => (await fetchJson<Run[]>(path, { signal })).data, organisation.id);
  return (
    <>
      <h1>Runs</h1>
      <p class="lead">A submission becomes a run per input; a run goes through its steps, each of them one research.</p>
      <StatusTabs label="States" to={["runs"]} statuses={STATUSES} current={status} />
      <Load of={loaded} what="Asking for runs">
        {(runs) => (
          <>
            {runs.length === 0 && (
              <Empty title={status ? `No run is ${status}` : "Nothing was submitted yet"}>
                {!status && (
                  <p>
                    <code>dex submit</code> starts one, as does <code>POST /api/v1/submissions</code>.
                  </p>
                )}
              </Empty>
            )}
            {runs.map((run) => (
              <RunCard key={run.id} run={run} />
            ))}
            <Pager
              label="Pages of runs"
              to={["runs"]}
              query={{ status }}
              offset={offset}
              pageSize={PAGE}
              count={runs.length}
            />
          </>
        )}
      </Load>
    </>
  );
}

interface SubmissionProps {
  id: string;
  organisation: Organisation;
}

/** Show one submission with its runs and, for callers who may start paid work, the buttons to cancel and retry it. */
export function SubmissionPage({ id, organisation }: SubmissionProps): VNode {
  const session = useSession();
  const orgId = nameOrganisation(session, organisation);
  const path = buildPath("api/v1/runs", { submission_id: id, limit: 200, org_id: orgId });
  const loaded = useLoad(path, async (signal) => (await fetchJson<Run[]>(path, { signal })).data);
  return (
    <>
      <nav class="crumbs" aria-label="Way here">
        <Link to={["runs"]}>Runs</Link>
      </nav>
      <h1>
        Submission <code>{shortenId(id)}</code>
      </h1>
      <Load of={loaded} what="Asking for its runs">
        {(runs) =>
          runs.length === 0 ? (
            <Empty title="There is no such submission">
              <p>It may belong to another organisation.</p>
            </Empty>
          ) : (
            <>
              {maySpend(session.caller) && <SubmissionActions id={id} runs={runs} done={loaded.reload} />}
              {runs.map((run) => (
                <RunCard key={run.id} run={run} />
              ))}
              {runs.length === 200 && <p class="quiet-text">The newest 200 runs are shown.</p>}
            </>
          )
        }
      </Load>
    </>
  );
}
