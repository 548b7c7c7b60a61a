/** Show YAML with line numbers, and with keys and comments highlighted. */
import type { VNode } from "preact";

export function YamlText({ text }: { text: string }): VNode {
  return (
    <pre class="code yaml" tabIndex={0}>
      {text
        .replace(/\n$/, "")
        .split("\n")
        .map((line, index) => (
          <span key={index} class="line">
            {renderLine(line)}
            {"\n"}
          </span>
        ))}
    </pre>
  );
}

function renderLine(line: string): VNode {
  const match = /^(\s*(?:- )?)([\w.-]+)(:)(\s.*)?$/.exec(line);
  if (/^\s*#/.test(line)) return <span class="comment">{line}</span>;
  if (!match) return <>{line}</>;
  const [, indent, key, colon, rest] = match;
  return (
    <>
      {indent}
      <span class="yaml-key">{key}</span>
      {colon}
      {rest}
    </>
  );
}
