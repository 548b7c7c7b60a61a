/** The overview page: step results by outcome, of one organisation (with reasons and fill rates) or of all. */
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { buildPath, fetchJson } from "../data/api";
import { formatCount } from "../data/format";
import { useLoad } from "../data/load";
import { ACCOUNTS_PATH, FIRST_ACCOUNTS_PATH, FIRST_ORGANISATIONS, nameOrganisation, useSession } from "../data/session";
import type { Account, Organisation, Spec } from "../data/types";
import { ElementBars, Reasons, StepBars, sumAccounts } from "../parts/accounts";
import { Share } from "../parts/bars";
import { Link } from "../parts/link";
import { renderInline } from "../parts/markdown";
import { Empty, Load } from "../parts/states";
import { Time } from "../parts/time";

export function Overview({ organisation }: { organisation: Organisation | null }): VNode {
  return organisation ? <OneOrganisation organisation={organisation} /> : <AllOrganisations />;
}

// --- one organisation ------------------------------------------------------------------------------------------------

function OneOrganisation({ organisation }: { organisation: Organisation }): VNode {
  const session = useSession();
  const orgId = nameOrganisation(session, organisation);
  const loaded = useLoad(`coverage ${organisation.id}`, async (signal) => {
    const path = buildPath("api/v1/coverage", { org_id: orgId });
    return (await fetchJson<Account[]>(path, { signal })).data;
  });
  return (
    <>
      <h1>{organisation.name}</h1>
      <p class="lead">
        Every step result and every element inside is accounted for: a row, or the reason why there is none.
      </p>
      <Load of={loaded} what="Adding up the accounts">
        {(accounts) => (
          <>
            <SpecCards accounts={accounts} orgId={orgId} />
            {session.specs.length === 0 && (
              <Empty title="There is no spec yet">
                <p>
                  A spec is one YAML file: the question, the columns, the key. <code>dex new</code> drafts one.
                </p>
              </Empty>
            )}
          </>
        )}
      </Load>
    </>
  );
}

function SpecCards({ accounts, orgId }: { accounts: Account[]; orgId: string | null }): VNode {
  const session = useSession();
  const pending = accounts.reduce((sum, account) => sum + account.pending, 0);
  const since = useLoad(`pending ${orgId ?? ""} ${pending}`, async (signal) => {
    if (pending === 0) return [];
    const path = buildPath("api/v1/coverage/pending", { org_id: orgId });
    return (await fetchJson<{ spec: string; since: string | null }[]>(path, { signal })).data;
  });
  return (
    <>
      {session.specs.map((spec) => {
        const account = accounts.find((candidate) => candidate.spec === spec.name) ?? null;
        const oldest = since.data?.find((candidate) => candidate.spec === spec.name)?.since ?? null;
        return <SpecCard key={spec.name} {...{ spec, account, oldest, orgId }} />;
      })}
    </>
  );
}

interface CardProps {
  spec: Spec;
  account: Account | null;
  /** When the oldest pending step result was recorded. */
  oldest: string | null;
  orgId: string | null;
}

function SpecCard({ spec, account, oldest, orgId }: CardProps): VNode {
  const reasons = account?.reasons ?? [];
  return (
    <section class="card" aria-labelledby={`spec-${spec.name}`}>
      <div class="card-head">
        <h2 id={`spec-${spec.name}`}>
          <Link to={["rows", spec.name]}>{spec.title}</Link>
        </h2>
        <p class="card-links">
          <Link to={["rows", spec.name]} label={`Rows of ${spec.title}`}>
            Rows
          </Link>
          <Link to={["specs", spec.name]} label={`Spec of ${spec.title}`}>
            Spec
          </Link>
        </p>
      </div>
      {spec.description && <p class="quiet-text">{renderInline(spec.description)}</p>}
      {account ? (
        <>
          <StepBars account={account} spec={spec.name} />
          <ElementBars account={account} />
          {(account.pending > 0 || account.stale_rows > 0) && <Pending account={account} oldest={oldest} />}
          {reasons.length > 0 && (
            <details open={account.rejected > 0 || account.refused > 0}>
              <summary>
                {formatCount(reasons.length)} {reasons.length === 1 ? "reason" : "reasons"} on record
              </summary>
              <Reasons spec={spec.name} reasons={reasons} />
            </details>
          )}
          <FillRates spec={spec} orgId={orgId} />
        </>
      ) : (
        <p class="quiet-text">Nothing was found for it yet.</p>
      )}
    </section>
  );
}

function Pending({ account, oldest }: { account: Account; oldest: string | null }): VNode {
  return (
    <p class="note waiting-note">
      {account.pending > 0 && (
        <>
          <Link to={["steps"]} query={{ spec: account.spec, outcome: "pending" }}>
            {formatCount(account.pending)} pending
          </Link>
          {oldest && (
            <>
              {" "}
              since <Time at={oldest} /> (<Time at={oldest} ago />)
            </>
          )}
          .{" "}
        </>
      )}
      {account.stale_rows > 0 && `${formatCount(account.stale_rows)} rows have to be computed again. `}
      <code>dex reconcile</code> or the next sweep writes them.
    </p>
  );
}

interface Rates {
  rows: number;
  newest: number;
  columns: { name: string; filled: number }[];
}

/** Show the columns' fill rates in a section; they are requested when it is opened. */
function FillRates({ spec, orgId }: { spec: Spec; orgId: string | null }): VNode {
  const [open, setOpen] = useState(false);
  return (
    <details
      onToggle={(event) => {
        setOpen(event.currentTarget.open);
      }}
    >
      <summary>How full the columns are</summary>
      {open && <FillRateTable spec={spec} orgId={orgId} />}
    </details>
  );
}

function FillRateTable({ spec, orgId }: { spec: Spec; orgId: string | null }): VNode {
  const loaded = useLoad(`fill ${spec.name} ${orgId ?? ""}`, async (signal) => {
    const path = buildPath(`api/v1/specs/${spec.name}/fill-rates`, { org_id: orgId });
    return (await fetchJson<Rates>(path, { signal })).data;
  });
  return (
    <Load of={loaded} what="Counting values">
      {(rates) =>
        rates.rows === 0 ? (
          <p class="quiet-text">The table has no row.</p>
        ) : (
          <>
            <p class="quiet-text">
              {rates.rows < rates.newest
                ? `Of all ${formatCount(rates.rows)} rows.`
                : `Of the newest ${formatCount(rates.rows)} rows.`}
            </p>
            <dl class="rates">
              {rates.columns.map((column) => (
                <div key={column.name} class={column.filled === 0 ? "never" : ""}>
                  <dt>
                    <code>{column.name}</code>
                  </dt>
                  <dd>
                    <Share count={column.filled} total={rates.rows} tone={column.filled === 0 ? "bad" : ""} />
                  </dd>
                </div>
              ))}
            </dl>
          </>
        )
      }
    </Load>
  );
}

// --- all organisations -----------------------------------------------------------------------------------------------

const NUMBERS = ["found", "written", "unchanged", "superseded", "filtered", "rejected", "pending"] as const;
function AllOrganisations(): VNode {
  const first = useLoad(FIRST_ACCOUNTS_PATH, (signal) => fetchAccounts(FIRST_ACCOUNTS_PATH, signal));
  return (
    <>
      <h1>All organisations</h1>
      <p class="lead">
        Every step result and every element inside is accounted for: a row, or the reason why there is none.
      </p>
      <Load of={first} what="Adding up the accounts">
        {(accounts) => <AllAccounts first={accounts} />}
      </Load>
    </>
  );
}

async function fetchAccounts(path: string, signal: AbortSignal): Promise<Account[]> {
  return (await fetchJson<Account[]>(path, { signal })).data;
}

/** Show the accounts of the `first` organisations, and those of the others and the sums once they are counted. */
function AllAccounts({ first }: { first: Account[] }): VNode {
  const { organisations } = useSession();
  const [wanted, setWanted] = useState("");
  const [shown, setShown] = useState(FIRST_ORGANISATIONS);
  const all = useLoad("accounts of all organisations", (signal) =>
    organisations.length > FIRST_ORGANISATIONS ? fetchAccounts(ACCOUNTS_PATH, signal) : Promise.resolve(first),
  );
  const counted = all.data ? organisations : organisations.slice(0, FIRST_ORGANISATIONS);
  const named = organisations.filter((candidate) => candidate.name.toLowerCase().includes(wanted.trim().toLowerCase()));
  const listed = named.filter((candidate) => counted.includes(candidate)).slice(0, shown);
  return (
    <>
      <section class="card" aria-label="All together">
        <Load of={all} what="Adding up all organisations">
          {(accounts) => <Sums accounts={accounts} />}
        </Load>
      </section>
      {organisations.length > 10 && (
        <p class="filter-line">
          <label>
            Find an organisation{" "}
            <input
              type="search"
              value={wanted}
              onInput={(event) => {
                setWanted(event.currentTarget.value);
              }}
            />
          </label>{" "}
          <span role="status" class="quiet-text">{`${named.length} of ${organisations.length}`}</span>
        </p>
      )}
      {organisations.length === 0 && (
        <Empty title="There is no organisation yet">
          <p>
            <code>dex org create NAME</code> makes one, <code>make demo</code> one with rows in it.
          </p>
        </Empty>
      )}
      {listed.length > 0 && <AccountTable organisations={listed} accounts={all.data ?? first} />}
      {named.length > shown && (
        <button
          type="button"
          onClick={() => {
            setShown(shown + 200);
          }}
        >
          Show more organisations
        </button>
      )}
    </>
  );
}

function Sums({ accounts }: { accounts: Account[] }): VNode {
  const sums = sumAccounts(accounts);
  return (
    <>
      <StepBars account={sums} />
      <ElementBars account={sums} />
    </>
  );
}

function AccountTable({ organisations, accounts }: { organisations: Organisation[]; accounts: Account[] }): VNode {
  const session = useSession();
  const byOrganisation = new Map<string, Account[]>();
  for (const account of accounts) {
    byOrganisation.set(account.org_id, [...(byOrganisation.get(account.org_id) ?? []), account]);
  }
  const titles = new Map(session.specs.map((spec) => [spec.name, spec.title]));
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Accounts by organisation and spec">
      <table>
        <thead>
          <tr>
            <th scope="col">Organisation</th>
            <th scope="col">Spec</th>
            {NUMBERS.map((name) => (
              <th scope="col" key={name} class="number">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {organisations.map((organisation) => {
            const own = byOrganisation.get(organisation.id) ?? [];
            const link = (
              <Link to={[]} query={{ org: organisation.id }}>
                {organisation.name}
              </Link>
            );
            if (own.length === 0) {
              return (
                <tr key={organisation.id}>
                  <th scope="row">{link}</th>
                  <td colSpan={NUMBERS.length + 1} class="quiet-text">
                    nothing found yet
                  </td>
                </tr>
              );
            }
            return own.map((account, index) => (
              <tr key={`${organisation.id} ${account.spec}`}>
                <th scope="row">{index === 0 ? link : <span class="hidden">{organisation.name}</span>}</th>
                <td>
                  <Link to={["rows", account.spec]} query={{ org: organisation.id }}>
                    {titles.get(account.spec) ?? account.spec}
                  </Link>
                </td>
                {NUMBERS.map((name) => (
                  <td key={name} class={`number ${account[name] ? name : "zero"}`}>
                    {formatCount(account[name])}
                  </td>
                ))}
              </tr>
            ));
          })}
        </tbody>
      </table>
    </div>
  );
}
