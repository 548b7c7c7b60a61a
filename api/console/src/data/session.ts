/** The session: the caller, the organisations and specs that it may read, and the chosen organisation. */
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { type Address, parseAddress } from "./address";
import { forgetEarly, fetchJson, sendEarly } from "./api";
import type { Caller, Organisation, Spec } from "./types";

/** How many organisations the overview shows at once: counting the step results of hundreds takes a second. */
export const FIRST_ORGANISATIONS = 20;
export const ACCOUNTS_PATH = "api/v1/coverage/organisations";
export const FIRST_ACCOUNTS_PATH = `${ACCOUNTS_PATH}?limit=${FIRST_ORGANISATIONS}`;

export interface Session {
  caller: Caller;
  organisations: Organisation[];
  specs: Spec[];
  signOut: (reason?: string) => void;
}

export const SessionContext = createContext<Session | null>(null);

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error("there is no session");
  return session;
}

/**
 * Request the caller of a key, its organisations and the specs; once the caller is known, also what the overview shows
 * first. Throws Problem for an invalid key.
 */
export async function openSession(key?: string): Promise<Omit<Session, "signOut">> {
  const options = key === undefined ? {} : { key };
  const { path, query } = parseAddress(location.hash);
  forgetEarly();
  const [caller, organisations, specs] = await Promise.all([
    fetchJson<Caller>("api/v1/caller", options).then((answer) => {
      if (path.length === 0 && answer.data.org_id) sendEarly("api/v1/coverage", options);
      else if (path.length === 0 && !query.has("org")) sendEarly(FIRST_ACCOUNTS_PATH, options);
      return answer;
    }),
    fetchJson<Organisation[]>("api/v1/organisations", options),
    fetchJson<Spec[]>("api/v1/specs", options),
  ]);
  return { caller: caller.data, organisations: organisations.data, specs: specs.data };
}

/** Return the organisation whose data a page shows; null if a super-admin has chosen none. */
export function chooseOrganisation(session: Session, address: Address): Organisation | null {
  if (session.caller.org_id) {
    return session.organisations[0] ?? { id: session.caller.org_id, name: "Your organisation", slug: "" };
  }
  const wanted = address.query.get("org");
  const found = session.organisations.find((candidate) => candidate.id === wanted || candidate.slug === wanted);
  return found ?? (session.organisations.length === 1 ? (session.organisations[0] ?? null) : null);
}

/** Return the `org_id` to send: that of the chosen organisation, but null for a tenant, whose key implies its own. */
export function nameOrganisation(session: Session, organisation: Organisation | null): string | null {
  return session.caller.org_id ? null : (organisation?.id ?? null);
}

export function maySpend(caller: Caller): boolean {
  return caller.role === "org_admin" || caller.role === "company_admin";
}
