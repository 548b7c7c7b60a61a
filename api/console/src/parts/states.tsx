/** What a page shows instead of data: that it is loading, empty, or failed. */
import type { ComponentChildren, VNode } from "preact";
import type { Problem } from "../data/api";
import type { Loaded } from "../data/load";
import { renderInline } from "./markdown";

export function Loading({ what = "Loading" }: { what?: string }): VNode {
  return (
    <p class="loading" role="status">
      <span class="spinner" aria-hidden="true" />
      {what} …
    </p>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }): VNode {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

export function Failed({ problem, retry }: { problem: Problem; retry?: (() => void) | undefined }): VNode {
  return (
    <div class="failed" role="alert">
      <p class="failed-title">{renderInline(problem.message)}</p>
      {problem.hint && <p>{renderInline(problem.hint)}</p>}
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** Render loaded data by `children`; until then show "loading", or the error of the request. */
export function Load<T>({
  of,
  what,
  heading,
  children,
}: {
  of: Loaded<T>;
  what?: string;
  /** The heading to show above an error, for pages whose heading is part of the data. */
  heading?: string;
  children: (data: T) => ComponentChildren;
}): VNode {
  if (of.state === "failed") {
    return (
      <>
        {heading !== undefined && <h1>{heading}</h1>}
        <Failed problem={of.problem} retry={of.reload} />
      </>
    );
  }
  if (of.data === null) return <Loading {...(what === undefined ? {} : { what })} />;
  return <div aria-busy={of.state === "loading"}>{children(of.data)}</div>;
}
