/** Render a subset of Markdown as elements: headings, lists, tables, quotes, emphasis. HTML in the text stays text. */
import type { ComponentChildren, VNode } from "preact";
import { OutsideLink } from "./link";

type Block =
  | { kind: "heading"; level: number; text: string }
  | { kind: "list"; ordered: boolean; items: string[] }
  | { kind: "table"; rows: string[][] }
  | { kind: "quote"; text: string }
  | { kind: "code"; text: string }
  | { kind: "paragraph"; text: string };

/** Whether a text should be rendered as Markdown: it has several lines or contains Markdown syntax. */
export function isProse(text: string): boolean {
  return text.includes("\n") || /^#{1,6} /.test(text) || /\*\*[^*]+\*\*|\[[^\]]+\]\(https?:/.test(text);
}

export function Prose({ text, level }: { text: string; level: number }): VNode {
  return <div class="prose">{parseBlocks(text).map((block, index) => renderBlock(block, index, level))}</div>;
}

function renderBlock(block: Block, index: number, level: number): VNode {
  switch (block.kind) {
    case "heading":
      return (
        <Heading key={index} level={level + block.level - 1}>
          {renderInline(block.text)}
        </Heading>
      );
    case "list": {
      const items = block.items.map((item, place) => <li key={place}>{renderInline(item)}</li>);
      return block.ordered ? <ol key={index}>{items}</ol> : <ul key={index}>{items}</ul>;
    }
    case "table":
      return <TextTable key={index} rows={block.rows} />;
    case "quote":
      return <blockquote key={index}>{renderInline(block.text)}</blockquote>;
    case "code":
      return <pre key={index}>{block.text}</pre>;
    case "paragraph":
      return <p key={index}>{renderInline(block.text)}</p>;
  }
}

/** A heading, its level limited to 2 to 6: level 1 is the page's title, and HTML has none deeper than 6. */
export function Heading({ level, children }: { level: number; children: ComponentChildren }): VNode {
  const Tag = `h${Math.min(Math.max(level, 2), 6)}` as "h2";
  return <Tag>{children}</Tag>;
}

function TextTable({ rows: [head = [], ...rows] }: { rows: string[][] }): VNode {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Table">
      <table>
        <thead>
          <tr>
            {head.map((cell, index) => (
              <th key={index} scope="col">
                {renderInline(cell)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, index) => (
            <tr key={index}>
              {row.map((cell, place) => (
                <td key={place}>{renderInline(cell)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function parseBlocks(text: string): Block[] {
  const blocks: Block[] = [];
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  for (let at = 0; at < lines.length;) {
    const line = lines[at] ?? "";
    const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    const item = ITEM.exec(line);
    if (!line.trim()) {
      at += 1;
    } else if (heading) {
      blocks.push({ kind: "heading", level: heading[1]?.length ?? 1, text: heading[2] ?? "" });
      at += 1;
    } else if (line.startsWith("```")) {
      const end = lines.indexOf("```", at + 1);
      const last = end < 0 ? lines.length : end;
      blocks.push({ kind: "code", text: lines.slice(at + 1, last).join("\n") });
      at = last + 1;
    } else if (item) {
      const ordered = /\d/.test(item[1] ?? "");
      const items: string[] = [];
      for (let next = ITEM.exec(line); next && at < lines.length; next = ITEM.exec(lines[at] ?? "")) {
        let whole = next[2] ?? "";
        at += 1;
        // Indented lines continue the entry before.
        while (/^\s+\S/.test(lines[at] ?? "") && !ITEM.test(lines[at] ?? "")) whole += ` ${lines[at++]?.trim() ?? ""}`;
        items.push(whole);
      }
      blocks.push({ kind: "list", ordered, items });
    } else if (line.includes("|") && /^[\s|:-]*-[\s|:-]*$/.test(lines[at + 1] ?? "") && lines[at + 1]?.includes("|")) {
      const rows = [splitCells(line)];
      for (at += 2; lines[at]?.includes("|"); at += 1) rows.push(splitCells(lines[at] ?? ""));
      blocks.push({ kind: "table", rows });
    } else if (line.startsWith(">")) {
      const quoted: string[] = [];
      for (; lines[at]?.startsWith(">"); at += 1) quoted.push(lines[at]?.replace(/^>\s?/, "") ?? "");
      blocks.push({ kind: "quote", text: quoted.join(" ") });
    } else {
      const paragraph = [line];
      for (at += 1; lines[at]?.trim() && !STARTS_BLOCK.test(lines[at] ?? ""); at += 1) paragraph.push(lines[at] ?? "");
      blocks.push({ kind: "paragraph", text: paragraph.join(" ") });
    }
  }
  return blocks;
}

const ITEM = /^\s*([-*+•]|\d{1,3}[.)])\s+(.*)$/;
const STARTS_BLOCK = /^(#{1,6}\s|```|>|\s*([-*+•]|\d{1,3}[.)])\s)/;

function splitCells(line: string): string[] {
  return line
    .replace(/^\s*\||\|\s*$/g, "")
    .split("|")
    .map((cell) => cell.trim());
}

const INLINE = /\*\*(.+?)\*\*|`([^`]+)`|\[([^\]]+)\]\((https?:[^\s)]+)\)|(https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]])/g;

/** Render the bold text, code and links of one line. */
export function renderInline(text: string): ComponentChildren {
  const parts: ComponentChildren[] = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > end) parts.push(text.slice(end, match.index));
    const [whole, bold, code, label, target, bare] = match;
    if (bold !== undefined) parts.push(<strong key={match.index}>{bold}</strong>);
    else if (code !== undefined) parts.push(<code key={match.index}>{code}</code>);
    else {
      const url = target ?? bare ?? whole;
      parts.push(
        <OutsideLink key={match.index} url={url}>
          {label ?? url}
        </OutsideLink>,
      );
    }
    end = match.index + whole.length;
  }
  if (end < text.length) parts.push(text.slice(end));
  return parts;
}
