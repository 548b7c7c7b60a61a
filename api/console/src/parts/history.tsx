/** Show the versions of a row, and what changed between two versions. */
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { type Change, compareRows } from "../data/diff";
import { formatCount, shortenId } from "../data/format";
import { formatJson, type Json } from "../data/json";
import type { HistoryEntry } from "../data/types";
import { Link } from "./link";
import { Time } from "./time";

const SHOWN = 100;
const LONGEST = 400;

export function History({ versions }: { versions: HistoryEntry[] }): VNode {
  const [chosen, setChosen] = useState<[number, number]>([1, 0]);
  if (versions.length === 0) return <p class="quiet-text">No step result stands behind it, so it has no history.</p>;
  const [before, after] = [versions[chosen[0]], versions[chosen[1]]];
  return (
    <>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">Recorded</th>
              <th scope="col">Step result</th>
              {versions.length > 1 && (
                <>
                  <th scope="col">Before</th>
                  <th scope="col">After</th>
                </>
              )}
            </tr>
          </thead>
          <tbody>
            {versions.map((version, index) => (
              <tr key={version.step_result_id}>
                <td>
                  <Time at={version.recorded_at} /> {index === 0 && <span class="quiet-text">now</span>}
                </td>
                <td>
                  <Link to={["steps", version.step_result_id]}>
                    <code>{shortenId(version.step_result_id)}</code>
                  </Link>
                </td>
                {versions.length > 1 &&
                  ([0, 1] as const).map((side) => (
                    <td key={side}>
                      <input
                        type="radio"
                        name={side ? "after" : "before"}
                        aria-label={`${side ? "After" : "Before"}: ${version.recorded_at}`}
                        checked={chosen[side] === index}
                        onChange={() => {
                          setChosen(side ? [chosen[0], index] : [index, chosen[1]]);
                        }}
                      />
                    </td>
                  ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {before && after && before !== after && <Changes changes={compareRows(before.row ?? {}, after.row ?? {})} />}
      {versions.length === 1 && <p class="quiet-text">One result says all of it; nothing changed since.</p>}
    </>
  );
}

function Changes({ changes }: { changes: Change[] }): VNode {
  if (changes.length === 0) return <p class="quiet-text">Nothing differs between the two.</p>;
  return (
    <>
      <h3>{`${formatCount(changes.length)} ${changes.length === 1 ? "place differs" : "places differ"}`}</h3>
      <dl class="changes">
        {changes.slice(0, SHOWN).map((change, index) => (
          <div key={index}>
            <dt>
              <code>{change.path}</code>
            </dt>
            <dd>
              {change.before !== undefined && (
                <del>
                  <span class="hidden">before: </span>
                  {shortenValue(change.before)}
                </del>
              )}
              {change.after !== undefined && (
                <ins>
                  <span class="hidden">after: </span>
                  {shortenValue(change.after)}
                </ins>
              )}
            </dd>
          </div>
        ))}
      </dl>
      {changes.length > SHOWN && <p class="quiet-text">{`The first ${SHOWN} are shown.`}</p>}
    </>
  );
}

function shortenValue(value: Json): string {
  const text = typeof value === "string" ? value : value === null ? "no value" : formatJson(value, 0);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}
