/** Bars for sums and shares, with their numbers as text, since screen readers cannot read bars. */
import type { VNode } from "preact";
import { formatCount } from "../data/format";
import { Link } from "./link";

export interface Part {
  name: string;
  count: number;
  tone: string;
  hint: string;
  link?: { to: string[]; query: Record<string, string | null> };
}

interface StackProps {
  whole: { name: string; count: number };
  parts: Part[];
}

/** Show `whole = part + part + ...` as a stacked bar and as text. */
export function Stack({ whole, parts }: StackProps): VNode {
  const sum = parts.reduce((total, part) => total + part.count, 0);
  const closes = sum === whole.count;
  return (
    <div class="stack">
      <div class="bar" aria-hidden="true">
        {parts
          .filter((part) => part.count > 0)
          .map((part) => (
            <span
              key={part.name}
              class={`segment ${part.tone}`}
              style={{ flexGrow: String(part.count) }}
              title={`${part.name}: ${formatCount(part.count)}`}
            />
          ))}
      </div>
      <p class="sum">
        <span class="term whole">
          <b>{formatCount(whole.count)}</b> {whole.name}
        </span>
        {parts.map((part, index) => (
          <span key={part.name} class={`term ${part.count ? "" : "zero"}`} title={part.hint}>
            <span class="operator">{index ? "+" : "="}</span>
            <span class={`swatch ${part.tone}`} aria-hidden="true" />
            <b>{formatCount(part.count)}</b>{" "}
            {part.link && part.count > 0 ? (
              <Link to={part.link.to} query={part.link.query}>
                {part.name}
              </Link>
            ) : (
              part.name
            )}
          </span>
        ))}
        {!closes && (
          <strong class="mismatch" role="alert">
            It does not add up: {formatCount(sum)}.
          </strong>
        )}
      </p>
    </div>
  );
}

/** Show a share, `count` of `total`, as a small bar and as text. */
export function Share({ count, total, tone = "" }: { count: number; total: number; tone?: string }): VNode {
  const percent = total ? (100 * count) / total : 0;
  return (
    <span class={`share ${tone}`}>
      <span class="share-track" aria-hidden="true">
        <span class="share-fill" style={{ width: `${percent}%` }} />
      </span>
      <span class="share-text">
        {formatPercent(count, total)} <span class="quiet-text">{`${formatCount(count)} of ${formatCount(total)}`}</span>
      </span>
    </span>
  );
}

/** Format a percentage without decimals; only exact values become 0 or 100. */
function formatPercent(count: number, total: number): string {
  if (!total) return "–";
  const percent = (100 * count) / total;
  if (count > 0 && percent < 1) return "<1 %";
  if (count < total && percent > 99) return ">99 %";
  return `${Math.round(percent)} %`;
}
