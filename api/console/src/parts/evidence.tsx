/** Show the provider's evidence for a value: citations with excerpts, confidence and reasoning. */
import type { VNode } from "preact";
import { formatCount, safeUrl } from "../data/format";
import { isObject, type Json } from "../data/json";
import type { Citation, Evidence } from "../data/types";
import { OutsideLink } from "./link";
import { renderInline } from "./markdown";

/** Show confidence, reasoning and citations beside a value; long texts are collapsed. */
export function EvidenceNotes({ notes }: { notes: Evidence[] }): VNode {
  return (
    <div class="evidence" role="note" aria-label="Evidence">
      {notes.map((note, index) => (
        <EvidenceNote key={index} note={note} />
      ))}
    </div>
  );
}

function EvidenceNote({ note }: { note: Evidence }): VNode {
  const citations = (note.citations ?? [])
    .map(readCitation)
    .filter((citation) => Boolean(citation.url ?? citation.title));
  const [first, ...others] = citations;
  const excerpts = first?.excerpts ?? [];
  const more = others.length > 0 || excerpts.length > 1;
  return (
    <div class="evidence-note">
      <p class="evidence-head">
        {note.confidence && <Confidence of={note.confidence} />}
        <span class="quiet-text">
          {citations.length
            ? `${formatCount(citations.length)} ${citations.length === 1 ? "source" : "sources"}`
            : "no source"}
        </span>
      </p>
      {first && (
        <div class="citations">
          <CitationLine citation={first} excerpts={excerpts.slice(0, 1)} />
        </div>
      )}
      {(note.reasoning !== null || more) && (
        <details>
          <summary>{nameRest(note.reasoning !== null, more)}</summary>
          {note.reasoning && <p>{renderInline(note.reasoning)}</p>}
          {excerpts.slice(1).map((excerpt, index) => (
            <blockquote key={index}>{excerpt}</blockquote>
          ))}
          {others.map((citation, index) => (
            <div key={index} class="citations">
              <CitationLine citation={citation} excerpts={citation.excerpts ?? []} />
            </div>
          ))}
        </details>
      )}
    </div>
  );
}

function nameRest(hasReasoning: boolean, hasMore: boolean): string {
  if (!hasReasoning) return "All sources";
  return hasMore ? "Reasoning and all sources" : "Reasoning";
}

function Confidence({ of }: { of: string }): VNode {
  const tone = { high: "good", medium: "waiting", low: "bad" }[of.toLowerCase()] ?? "quiet";
  return <span class={`status ${tone}`}>{`${of.toLowerCase()} confidence`}</span>;
}

function CitationLine({ citation, excerpts }: { citation: Citation; excerpts: string[] }): VNode {
  const url = citation.url ?? "";
  return (
    <>
      <OutsideLink url={url}>{citation.title ?? shortenUrl(url)}</OutsideLink>
      {citation.title && safeUrl(url) && <span class="quiet-text"> {new URL(url).hostname.replace(/^www\./, "")}</span>}
      {excerpts.map((excerpt, index) => (
        <blockquote key={index}>{excerpt}</blockquote>
      ))}
    </>
  );
}

function shortenUrl(url: string): string {
  const text = url.replace(/^https?:\/\/(www\.)?/, "").replace(/\/$/, "");
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

/** Convert a provider's citation, an object or only a URL, to a Citation. */
function readCitation(value: Citation | Json): Citation {
  if (typeof value === "string") return { url: value };
  if (!isObject(value as Json)) return {};
  const { url, title, excerpts } = value as Citation;
  const texts = Array.isArray(excerpts) ? excerpts.filter((text) => typeof text === "string") : [];
  return {
    ...(typeof url === "string" ? { url } : {}),
    title: typeof title === "string" ? title : null,
    excerpts: texts,
  };
}
