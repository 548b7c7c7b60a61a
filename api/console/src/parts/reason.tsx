/** Show why a step result gave no row: the sentence, and the value it is about. */
import type { VNode } from "preact";
import type { Reason } from "../data/types";
import { renderInline } from "./markdown";

export function ReasonText({ reason: { message, value } }: { reason: Reason }): VNode {
  return (
    <>
      {renderInline(message)}
      {value !== null && value !== undefined && (
        <>
          : <code>{value}</code>
        </>
      )}
    </>
  );
}
