/** Show values: that of a column as short text for a table cell, and facts of a list of descriptions. */
import type { ComponentChildren, VNode } from "preact";
import { formatDay, formatInline, safeUrl } from "../data/format";
import type { Json } from "../data/json";
import type { Column } from "../data/types";
import { OutsideLink } from "./link";
import { Time } from "./time";

const LONGEST = 160;

export function CellValue({ value, column }: { value: Json | undefined; column: Column }): VNode {
  if (value === null || value === undefined) {
    return (
      <span class="none" title="no value">
        –
      </span>
    );
  }
  if (column.type === "timestamptz" && typeof value === "string") return <Time at={value} />;
  if (column.type === "date" && typeof value === "string") return <>{formatDay(value)}</>;
  const text = formatInline(value);
  if (typeof value === "string" && safeUrl(value)) {
    return <OutsideLink url={value}>{shortenText(text.replace(/^https?:\/\/(www\.)?/, ""))}</OutsideLink>;
  }
  return text.length > LONGEST ? <span title={text.slice(0, 2000)}>{shortenText(text)}</span> : <>{text}</>;
}

function shortenText(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

export function isNumeric(column: Column): boolean {
  return ["integer", "bigint", "numeric", "double precision"].includes(column.type);
}

/** A term with its description, in a list of descriptions. */
export function Fact({ name, children }: { name: string; children: ComponentChildren }): VNode {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
