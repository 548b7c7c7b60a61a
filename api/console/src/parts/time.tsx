import type { VNode } from "preact";
import { formatAgo, formatFullTime, formatTime } from "../data/format";

/** A time in the browser's time zone; its tooltip has the full time with the zone. */
export function Time({ at, ago = false }: { at: string | null | undefined; ago?: boolean }): VNode {
  if (!at) return <span class="none">–</span>;
  return (
    <time dateTime={at} title={formatFullTime(at)}>
      {ago ? formatAgo(at) : formatTime(at)}
    </time>
  );
}
