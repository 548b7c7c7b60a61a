/** Statuses: one as a coloured word, and links to the entries of a list that have one. */
import type { VNode } from "preact";
import { humanize } from "../data/format";
import { Link } from "./link";

const TONES: Record<string, string> = {
  written: "good",
  unchanged: "good",
  completed: "good",
  succeeded: "good",
  row: "good",
  superseded: "quiet",
  filtered: "quiet",
  skipped: "quiet",
  canceled: "quiet",
  not_accepted: "quiet",
  rejected: "bad",
  failed: "bad",
  refused: "bad",
  unknown: "bad",
  pending: "waiting",
  queued: "waiting",
  running: "waiting",
  open: "waiting",
  requested: "waiting",
  retrying: "waiting",
};

/** Show a status as a coloured word; the colour adds no information. */
export function Status({ of }: { of: string }): VNode {
  return <span class={`status ${TONES[of] ?? "quiet"}`}>{of.replaceAll("_", " ")}</span>;
}

interface TabsProps {
  /** What has these statuses, such as orders; for screen readers. */
  label: string;
  to: string[];
  statuses: string[];
  current: string | null;
}

/** Links to a list as a whole, and to its entries of each status. */
export function StatusTabs({ label, to, statuses, current }: TabsProps): VNode {
  return (
    <nav class="tabs" aria-label={label}>
      <Link to={to} current={current === null}>
        All
      </Link>
      {statuses.map((status) => (
        <Link key={status} to={to} query={{ status }} current={current === status}>
          {humanize(status)}
        </Link>
      ))}
    </nav>
  );
}
