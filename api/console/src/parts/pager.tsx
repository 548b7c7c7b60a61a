/** Links to the newer and older pages of a list that is read by offset, newest first. */
import type { VNode } from "preact";
import { Link } from "./link";

interface PagerProps {
  /** What is listed, for screen readers: "Pages of orders". */
  label: string;
  /** The path of the list, and its parameters except `offset`. */
  to: string[];
  query: Record<string, string | null>;
  offset: number;
  pageSize: number;
  /** How many entries this page has; an older page may exist when it is full. */
  count: number;
}

export function Pager({ label, to, query, offset, pageSize, count }: PagerProps): VNode {
  return (
    <nav class="pager" aria-label={label}>
      {offset > 0 && (
        <Link to={to} query={{ ...query, offset: String(Math.max(offset - pageSize, 0)) }}>
          Newer
        </Link>
      )}
      {count === pageSize && (
        <Link to={to} query={{ ...query, offset: String(offset + pageSize) }}>
          Older
        </Link>
      )}
    </nav>
  );
}
