/** The root component: the page that the address names, or the sign-in form if there is no valid key. */
import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { type Address, buildAddress, decodePart, navigate, parseAddress, useAddress } from "./data/address";
import { KEY_REFUSED, Problem, readKey, storeKey } from "./data/api";
import { chooseOrganisation, openSession, type Session, SessionContext } from "./data/session";
import type { Organisation, Spec } from "./data/types";
import { Header } from "./parts/header";
import { Empty, Failed, Loading } from "./parts/states";
import { CostsPage } from "./pages/costs";
import { Overview } from "./pages/overview";
import { RowPage } from "./pages/row";
import { RowsPage } from "./pages/rows";
import { RunsPage, SubmissionPage } from "./pages/runs";
import { SignIn } from "./pages/sign-in";
import { SpecPage, SpecsPage } from "./pages/spec";
import { StepPage, StepsPage } from "./pages/steps";
import { WhyPage } from "./pages/why";

type Opened = Omit<Session, "signOut">;

/** Take the key out of the URL's fragment, where `dex serve --dev` prints it, and return it; null if there is none. */
function takeKeyFromAddress(): string | null {
  const match = /^#key=([^&]+)$/.exec(location.hash);
  if (!match?.[1]) return null;
  const key = decodePart(match[1]);
  storeKey(key);
  history.replaceState(null, "", "#/");
  return key;
}

export function App(): VNode {
  const [key, setKey] = useState(() => takeKeyFromAddress() ?? readKey());
  const [opened, setOpened] = useState<Opened | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [notice, setNotice] = useState<string | null>(null);
  const [round, setRound] = useState(0);

  const signOut = (reason?: string): void => {
    storeKey(null);
    setKey(null);
    setOpened(null);
    setProblem(null);
    setNotice(reason ?? null);
  };
  useEffect(() => {
    if (key === null || opened) return undefined;
    let isPresent = true; // a slow response to an earlier key must not open its session
    openSession(key).then(
      (session) => {
        if (isPresent) setOpened(session);
      },
      (error: unknown) => {
        if (!isPresent) return;
        if (error instanceof Problem && error.status === 401) signOut(`${error.message}. Sign in again.`);
        else setProblem(error instanceof Problem ? error : new Problem("The page could not start.", 0, "page_error"));
      },
    );
    return () => {
      isPresent = false;
    };
  }, [key, opened, round]);
  useEffect(() => {
    // A link with a key that is opened in a tab of the console only changes the fragment: nothing is loaded again.
    const takeKey = (): void => {
      const taken = takeKeyFromAddress();
      if (taken === null) return;
      setKey(taken);
      setOpened(null);
      setProblem(null);
      setNotice(null);
      setRound((present) => present + 1); // the key may be the one that found no API
    };
    addEventListener("hashchange", takeKey);
    return () => {
      removeEventListener("hashchange", takeKey);
    };
  }, []);
  useEffect(() => {
    if (!opened) return undefined;
    const askForKey = (event: Event): void => {
      signOut(`${(event as CustomEvent<Problem>).detail.message}. Sign in again.`);
    };
    addEventListener(KEY_REFUSED, askForKey);
    return () => {
      removeEventListener(KEY_REFUSED, askForKey);
    };
  }, [opened]);

  if (key === null) {
    const signIn = async (given: string): Promise<void> => {
      const session = await openSession(given);
      storeKey(given);
      setNotice(null);
      setOpened(session);
      setKey(given);
    };
    return <SignIn notice={notice} signIn={signIn} />;
  }
  if (problem) {
    const retry = (): void => {
      setProblem(null);
      setRound(round + 1);
    };
    return (
      <main id="main" tabIndex={-1}>
        <h1 class="hidden">Console</h1>
        <Failed problem={problem} retry={retry} />
      </main>
    );
  }
  if (!opened) return <Loading what="Signing in" />;
  return (
    <SessionContext.Provider value={{ ...opened, signOut }}>
      <Pages session={{ ...opened, signOut }} />
    </SessionContext.Provider>
  );
}

function Pages({ session }: { session: Session }): VNode {
  const address = useAddress();
  const organisation = chooseOrganisation(session, address);
  const main = useRef<HTMLElement>(null);
  const place = address.path.join("/");
  const first = useRef(true);
  useEffect(() => {
    // After navigation, scroll to the top and focus the heading, so that screen readers announce the new page.
    if (first.current) {
      first.current = false;
      return;
    }
    scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [place]);
  return (
    <>
      <Header address={address} organisation={organisation} />
      <main id="main" tabIndex={-1} ref={main}>
        <Page session={session} address={address} organisation={organisation} />
      </main>
    </>
  );
}

interface PageProps {
  session: Session;
  address: Address;
  organisation: Organisation | null;
}

function Page({ session, address, organisation }: PageProps): VNode {
  const [page = "", name, id] = address.path;
  const spec = session.specs.find((candidate) => candidate.name === name || candidate.slug === name);
  if (page === "") return <Overview organisation={organisation} />;
  if (page === "specs" && name === undefined) return <SpecsPage />;
  if (page === "specs" && spec) return <SpecPage key={spec.name} spec={spec} organisation={organisation} />;
  if (!organisation && ORGANISATION_PAGES.has(page)) return <ChooseFirst session={session} address={address} />;
  if (organisation) {
    const about = { organisation, address };
    if (page === "rows" && name === undefined) return <FirstSpec specs={session.specs} />;
    if (page === "rows" && spec && id) {
      return <RowPage key={`${organisation.id} ${id}`} {...{ spec, id, organisation }} />;
    }
    if (page === "rows" && spec) return <RowsPage key={`${spec.name} ${organisation.id}`} spec={spec} {...about} />;
    if (page === "why") return <WhyPage {...about} />;
    if (page === "runs") return name ? <SubmissionPage key={name} id={name} {...about} /> : <RunsPage {...about} />;
    if (page === "steps") return name ? <StepPage key={name} id={name} {...about} /> : <StepsPage {...about} />;
    if (page === "costs") return <CostsPage {...about} />;
  }
  return (
    <>
      <h1>There is no such page</h1>
      <p>
        The address names nothing the console knows. <a href="#/">Go to the overview</a>.
      </p>
    </>
  );
}

/** The pages that show data of one organisation. */
const ORGANISATION_PAGES = new Set(["rows", "why", "runs", "steps", "costs"]);

/** Redirect `Rows`, if the address names no spec, to the rows of the first spec. */
function FirstSpec({ specs }: { specs: Spec[] }): VNode {
  const first = specs[0];
  useEffect(() => {
    if (first) navigate(buildAddress(["rows", first.name]), { replace: true });
  }, [first]);
  return first ? <Loading /> : <Empty title="There is no spec yet" />;
}

/** Ask a super-admin to choose an organisation, for a page that shows data of one. */
function ChooseFirst({ session, address }: { session: Session; address: Address }): VNode {
  return (
    <>
      <h1>Whose?</h1>
      <p>This page is about one organisation. Choose it here, or at the top right.</p>
      <ul class="choices">
        {session.organisations.map((choice) => (
          <li key={choice.id}>
            <a href={`#/${address.path.map(encodeURIComponent).join("/")}?${withOrganisation(choice.id)}`}>
              {choice.name}
            </a>
          </li>
        ))}
      </ul>
      {session.organisations.length === 0 && <Empty title="There is no organisation yet" />}
    </>
  );
}

function withOrganisation(id: string): string {
  const query = parseAddress(location.hash).query;
  query.set("org", id);
  return query.toString();
}
