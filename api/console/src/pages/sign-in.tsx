/** The sign-in form: it takes a token or a key, which this tab keeps. */
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { Problem } from "../data/api";
import { toProblem } from "../data/load";

interface SignInProps {
  notice: string | null;
  signIn: (key: string) => Promise<void>;
}

export function SignIn({ notice, signIn }: SignInProps): VNode {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const key = new FormData(event.currentTarget as HTMLFormElement).get("key");
    if (typeof key !== "string" || !key.trim()) return;
    setBusy(true);
    signIn(key.trim())
      .catch((error: unknown) => {
        setProblem(toProblem(error));
      })
      .finally(() => {
        setBusy(false);
      });
  };
  return (
    <main class="sign-in" id="main" tabIndex={-1}>
      <span class="mark large" aria-hidden="true" />
      <h1>Research, as rows you can trust</h1>
      <p>Every row with its evidence, every result accounted for, and the reason for whatever is missing.</p>
      {notice && <p role="status">{notice}</p>}
      <form onSubmit={submit}>
        <label for="key">API token, session token or super-admin key</label>
        <input
          id="key"
          name="key"
          type="password"
          autocomplete="off"
          spellcheck={false}
          required
          aria-describedby="key-help"
          aria-invalid={problem !== null}
        />
        {problem && (
          <p class="failed-title" role="alert">
            {problem.describe()}
          </p>
        )}
        <button type="submit" class="primary" disabled={busy}>
          {busy ? "Signing in …" : "Sign in"}
        </button>
      </form>
      <p id="key-help" class="help">
        It stays in this tab and is gone when you close it. No token yet? An operator makes one with{" "}
        <code>dex token create --org YOURS --name console</code>; on a machine of your own, <code>make serve</code>{" "}
        prints an address that signs you in.
      </p>
    </main>
  );
}
