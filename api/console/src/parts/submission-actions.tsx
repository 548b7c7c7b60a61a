/** Buttons that cancel or retry a submission, after a confirmation, since a retry may cost money. */
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { fetchJson } from "../data/api";
import { toProblem } from "../data/load";
import type { Run } from "../data/types";

interface ActionsProps {
  id: string;
  runs: Run[];
  done: () => void;
}

type Action = "cancel" | "retry";

const WORDS: Record<Action, { name: string; question: string; confirm: string }> = {
  cancel: {
    name: "Cancel",
    question: "Cancel its runs that have not ended? What was ordered is collected all the same.",
    confirm: "Yes, cancel them",
  },
  retry: {
    name: "Retry",
    question: "Take up its failed and canceled runs again? What is known is not bought again; the rest may cost.",
    confirm: "Yes, retry them",
  },
};

export function SubmissionActions({ id, runs, done }: ActionsProps): VNode | null {
  const [asking, setAsking] = useState<Action | null>(null);
  const [message, setMessage] = useState("");
  const offered: Action[] = [];
  if (runs.some((run) => ["queued", "running"].includes(run.status))) offered.push("cancel");
  if (runs.some((run) => ["failed", "canceled"].includes(run.status))) offered.push("retry");
  if (offered.length === 0) return null;
  const act = async (action: Action): Promise<void> => {
    setAsking(null);
    setMessage(action === "cancel" ? "canceling …" : "taking it up again …");
    try {
      await fetchJson(`api/v1/submissions/${id}/${action}`, { method: "POST" });
      done();
    } catch (error) {
      setMessage(toProblem(error).describe());
    }
  };
  return (
    <div class="actions">
      {asking === null ? (
        offered.map((action) => (
          <button
            key={action}
            type="button"
            onClick={() => {
              setAsking(action);
            }}
          >
            {WORDS[action].name}
          </button>
        ))
      ) : (
        <p role="group" aria-label={WORDS[asking].name}>
          {WORDS[asking].question}{" "}
          <button type="button" class="danger" onClick={() => void act(asking)}>
            {WORDS[asking].confirm}
          </button>{" "}
          <button
            type="button"
            onClick={() => {
              setAsking(null);
            }}
          >
            No
          </button>
        </p>
      )}
      <p role="status">{message}</p>
    </div>
  );
}
