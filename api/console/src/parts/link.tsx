/** Links to pages of the console, and to other sites. */
import type { ComponentChildren, VNode } from "preact";
import { buildAddress } from "../data/address";
import { safeUrl } from "../data/format";

interface LinkProps {
  to: string[];
  query?: Record<string, string | null | undefined> | URLSearchParams;
  class?: string;
  current?: boolean;
  label?: string;
  children: ComponentChildren;
}

/** A link to a page of the console. */
export function Link({ to, query, current, label, children, ...rest }: LinkProps): VNode {
  return (
    <a href={buildAddress(to, query)} aria-current={current ? "page" : undefined} aria-label={label} {...rest}>
      {children}
    </a>
  );
}

/** A link to another site; only text if the URL is not http or https. */
export function OutsideLink({ url, children }: { url: string; children?: ComponentChildren }): VNode {
  const safe = safeUrl(url);
  const shown = children ?? url;
  if (!safe) return <>{shown}</>;
  return (
    <a href={safe} rel="noopener noreferrer nofollow" target="_blank" class="outside">
      {shown}
    </a>
  );
}
