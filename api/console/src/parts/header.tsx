/** The header of every page: the navigation, the choice of the organisation, and the button to sign out. */
import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { buildAddress, navigate, type Address } from "../data/address";
import { type Session, useSession } from "../data/session";
import type { Organisation } from "../data/types";
import { Link } from "./link";

const PAGES: [string, string][] = [
  ["", "Overview"],
  ["rows", "Rows"],
  ["why", "Why"],
  ["specs", "Specs"],
  ["runs", "Runs"],
  ["costs", "Costs"],
];

export function Header({ address, organisation }: { address: Address; organisation: Organisation | null }): VNode {
  const session = useSession();
  const page = address.path[0] ?? "";
  return (
    <header class="head">
      <a class="skip" href="#main" onClick={focusMain}>
        Skip to the page
      </a>
      <Link to={[]} class="brand" label="data-engine-x console, overview">
        <span class="mark" aria-hidden="true" />
        <span class="brand-name">data-engine-x</span>
      </Link>
      <nav aria-label="Pages">
        {PAGES.map(([name, title]) => (
          <Link key={name} to={name ? [name] : []} current={page === name || (name === "runs" && page === "steps")}>
            {title}
          </Link>
        ))}
      </nav>
      <div class="head-end">
        {session.caller.org_id ? (
          <span class="org-name" title={organisation?.name}>
            {organisation?.name}
          </span>
        ) : (
          <OrganisationChoice session={session} address={address} organisation={organisation} />
        )}
        <button
          type="button"
          class="plain"
          onClick={() => {
            session.signOut();
          }}
        >
          Sign out
        </button>
      </div>
    </header>
  );
}

function focusMain(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

interface ChoiceProps {
  session: Session;
  address: Address;
  organisation: Organisation | null;
}

/** Let a super-admin choose the organisation, from a list or, where there are many, by typing a name. */
function OrganisationChoice({ session, address, organisation }: ChoiceProps): VNode {
  const choose = (id: string): void => {
    const query = new URLSearchParams(address.query);
    for (const name of ["cursor", "org"]) query.delete(name);
    query.set("org", id || "all");
    const stays = address.path.length < 2 || ["rows", "specs"].includes(address.path[0] ?? "");
    navigate(buildAddress(stays ? address.path.slice(0, 2) : address.path.slice(0, 1), query));
  };
  if (session.organisations.length > 25) {
    return <SearchableChoice organisations={session.organisations} chosen={organisation} choose={choose} />;
  }
  return (
    <select
      aria-label="Organisation"
      value={organisation?.id ?? ""}
      onChange={(event) => {
        choose(event.currentTarget.value);
      }}
    >
      <option value="">All organisations</option>
      {session.organisations.map((choice) => (
        <option key={choice.id} value={choice.id}>
          {choice.name}
        </option>
      ))}
    </select>
  );
}

interface SearchProps {
  organisations: Organisation[];
  chosen: Organisation | null;
  choose: (id: string) => void;
}

function SearchableChoice({ organisations, chosen, choose }: SearchProps): VNode {
  const name = chosen?.name ?? "";
  const [text, setText] = useState(name);
  const list = useRef(`orgs-${Math.random().toString(36).slice(2)}`);
  useEffect(() => {
    setText(name);
  }, [name]);
  const take = (value: string): void => {
    const wanted = value.trim().toLowerCase();
    if (!wanted) {
      choose("");
      return;
    }
    const matching = organisations.filter((candidate) => candidate.name.toLowerCase().includes(wanted));
    const found =
      organisations.find((candidate) => candidate.name.toLowerCase() === wanted) ??
      (matching.length === 1 ? matching[0] : null);
    if (found) choose(found.id);
  };
  return (
    <>
      <input
        aria-label="Organisation"
        placeholder="All organisations"
        list={list.current}
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
        }}
        onChange={(event) => {
          take(event.currentTarget.value);
        }}
      />
      <datalist id={list.current}>
        {organisations.map((choice) => (
          <option key={choice.id} value={choice.name} />
        ))}
      </datalist>
    </>
  );
}
