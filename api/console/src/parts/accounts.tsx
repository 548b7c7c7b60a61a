/** Show an account: the step results by outcome, the elements by outcome, and the reasons for missing rows. */
import type { VNode } from "preact";
import { formatCount } from "../data/format";
import type { Account, ReasonCount } from "../data/types";
import { type Part, Stack } from "./bars";
import { Link } from "./link";
import { renderInline } from "./markdown";
import { Status } from "./status";

const HINTS: Record<string, string> = {
  written: "became a row, or changed one",
  unchanged: "the row said so already",
  superseded: "a newer result of the same key counts instead",
  filtered: "the spec leaves it out: its guard `when`, or an empty list",
  rejected: "refused, with the reason on record",
  pending: "recorded, and not yet looked at under the present spec",
};

type AccountSums = Omit<Account, "spec" | "org_id" | "reasons">;

export function StepBars({ account, spec }: { account: AccountSums; spec?: string }): VNode {
  const parts = (["written", "unchanged", "superseded", "filtered", "rejected", "pending"] as const).map(
    (name): Part => {
      const part = { name, count: account[name], tone: name, hint: HINTS[name] ?? "" };
      return spec === undefined ? part : { ...part, link: { to: ["steps"], query: { spec, outcome: name } } };
    },
  );
  return <Stack whole={{ name: "step results found", count: account.found }} parts={parts} />;
}

export function ElementBars({ account }: { account: AccountSums }): VNode {
  const parts: Part[] = [
    { name: "rows", count: account.rows, tone: "written", hint: "keys for which a step result gives a row" },
    { name: "duplicates", count: account.duplicates, tone: "superseded", hint: "a later element has the same key" },
    { name: "refused", count: account.refused, tone: "rejected", hint: "refused, with a recorded reason" },
  ];
  return <Stack whole={{ name: "elements inside them", count: account.elements }} parts={parts} />;
}

/** Show the reasons, most frequent first, each with a link to the step results that have it. */
export function Reasons({ spec, reasons }: { spec: string; reasons: ReasonCount[] }): VNode | null {
  if (reasons.length === 0) return null;
  return (
    <div class="scroll">
      <table class="reasons">
        <caption class="hidden">Reasons</caption>
        <thead>
          <tr>
            <th scope="col" class="number">
              How often
            </th>
            <th scope="col">Outcome</th>
            <th scope="col">Reason</th>
            <th scope="col">Field</th>
            <th scope="col">For example</th>
          </tr>
        </thead>
        <tbody>
          {reasons.map((reason) => (
            <tr key={`${reason.outcome} ${reason.code} ${reason.field ?? ""}`}>
              <td class="number">{formatCount(reason.count)}</td>
              <td>
                <Status of={reason.outcome} />
              </td>
              <td>
                <Link to={["steps"]} query={{ spec, outcome: reason.outcome, code: reason.code, field: reason.field }}>
                  {reason.code.replaceAll("_", " ")}
                </Link>
              </td>
              <td>{reason.field ? <code>{reason.field}</code> : <span class="none">–</span>}</td>
              <td class="message">{renderInline(reason.message)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Add up the counts of several accounts. */
export function sumAccounts(accounts: Account[]): AccountSums {
  const sums: AccountSums = {
    found: 0,
    written: 0,
    unchanged: 0,
    superseded: 0,
    filtered: 0,
    rejected: 0,
    pending: 0,
    elements: 0,
    rows: 0,
    duplicates: 0,
    refused: 0,
    stale_rows: 0,
  };
  for (const account of accounts) {
    for (const name of Object.keys(sums) as (keyof AccountSums)[]) sums[name] += account[name];
  }
  return sums;
}
