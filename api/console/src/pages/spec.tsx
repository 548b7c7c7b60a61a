/** The pages of specs: the list, and one spec with its prompt, its columns and their paths, and its YAML. */
import type { VNode } from "preact";
import { buildPath, fetchJson } from "../data/api";
import { formatCount, humanize } from "../data/format";
import { useLoad } from "../data/load";
import { nameOrganisation, useSession } from "../data/session";
import type { Column, Organisation, Spec, WholeSpec } from "../data/types";
import { Share } from "../parts/bars";
import { Link } from "../parts/link";
import { renderInline } from "../parts/markdown";
import { Empty, Load } from "../parts/states";
import { Fact } from "../parts/value";
import { YamlText } from "../parts/yaml-text";

interface Sample {
  name: string;
  values: number;
  missing: number;
  refused: number;
  examples: { value: string; step_result_id: string }[];
}

interface Samples {
  step_results: number;
  columns: Sample[];
}

export function SpecsPage(): VNode {
  const session = useSession();
  return (
    <>
      <h1>Specs</h1>
      <p class="lead">
        One YAML file is the whole operation: the question, the table, the path of each column, the key.
      </p>
      {session.specs.length === 0 && (
        <Empty title="There is no spec yet">
          <p>
            <code>dex new</code> drafts one.
          </p>
        </Empty>
      )}
      {session.specs.map((spec) => (
        <section key={spec.name} class="card" aria-labelledby={`spec-${spec.name}`}>
          <div class="card-head">
            <h2 id={`spec-${spec.name}`}>
              <Link to={["specs", spec.name]}>{spec.title}</Link>
            </h2>
            <p class="card-links">
              <code>{spec.file}</code>
            </p>
          </div>
          <p>{renderInline(spec.description)}</p>
          <p class="quiet-text">
            {`${formatCount(spec.columns.filter((column) => !column.provided).length)} columns from `}
            {spec.operations.join(", ")}
            {spec.research && `, researched by ${spec.research.provider} ${spec.research.processor}`}
          </p>
        </section>
      ))}
    </>
  );
}

export function SpecPage({ spec, organisation }: { spec: Spec; organisation: Organisation | null }): VNode {
  const session = useSession();
  const whole = useLoad(`spec ${spec.name}`, async (signal) => {
    return (await fetchJson<WholeSpec>(`api/v1/specs/${spec.name}`, { signal })).data;
  });
  const orgId = nameOrganisation(session, organisation);
  const samples = useLoad(`samples ${spec.name} ${organisation?.id ?? ""}`, async (signal): Promise<Samples | null> => {
    if (!organisation) return null;
    return (await fetchJson<Samples>(buildPath(`api/v1/specs/${spec.name}/samples`, { org_id: orgId }), { signal }))
      .data;
  });
  return (
    <>
      <nav class="crumbs" aria-label="Way here">
        <Link to={["specs"]}>Specs</Link>
      </nav>
      <div class="title-line">
        <h1>{spec.title}</h1>
        <Link to={["rows", spec.name]}>Rows</Link>
      </div>
      <p class="lead">{renderInline(spec.description)}</p>
      <section class="card" aria-label="At a glance">
        <dl class="facts">
          <Fact name="Operations">{spec.operations.join(", ")}</Fact>
          <Fact name="Table">
            <code>{spec.table}</code>
          </Fact>
          <Fact name="The same row">
            <code>{spec.conflict.join(", ")}</code>
          </Fact>
          {spec.many && (
            <Fact name="Rows from">
              <code>{spec.mappings.flatMap((mapping) => mapping.rows).join(" › ")}</code>
            </Fact>
          )}
          {spec.mappings.some((mapping) => mapping.when) && (
            <Fact name="Only when">
              <code>{spec.mappings.map((mapping) => mapping.when ?? "").join(" ")}</code>
            </Fact>
          )}
          {spec.research && (
            <Fact name="Research">
              {`${spec.research.provider} ${spec.research.processor}`}
              {spec.research.fresh_for_seconds !== null &&
                `, not bought again within ${Math.round(spec.research.fresh_for_seconds / 86400)} days`}
            </Fact>
          )}
        </dl>
      </section>
      <section class="card" aria-labelledby="spec-columns">
        <h2 id="spec-columns">Columns</h2>
        <Load of={samples} what="Trying the paths on the newest step results">
          {(found) => (
            <>
              <p class="quiet-text">{describeSamples(found, organisation)}</p>
              <ColumnTable spec={spec} samples={found} />
            </>
          )}
        </Load>
      </section>
      <Load of={whole} what="Reading the spec">
        {(text) => (
          <>
            {text.research?.prompt && (
              <section class="card" aria-labelledby="spec-prompt">
                <h2 id="spec-prompt">Prompt</h2>
                <pre class="code wrapped" tabIndex={0}>
                  {text.research.prompt}
                </pre>
              </section>
            )}
            <section class="card" aria-labelledby="spec-yaml">
              <h2 id="spec-yaml">
                <code>{text.file}</code>
              </h2>
              <YamlText text={text.yaml} />
            </section>
          </>
        )}
      </Load>
    </>
  );
}

function describeSamples(samples: Samples | null, organisation: Organisation | null): string {
  if (!organisation) return "Choose an organisation to see how often each path gives a value.";
  if (!samples || samples.step_results === 0) return "Nothing was found for it yet, so no path was tried.";
  const count = samples.step_results;
  return `Every path, tried on the newest ${count === 1 ? "step result" : `${formatCount(count)} step results`} of ${organisation.name}.`;
}

function ColumnTable({ spec, samples }: { spec: Spec; samples: Samples | null }): VNode {
  const byName = new Map((samples?.columns ?? []).map((sample) => [sample.name, sample]));
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Table of columns">
      <table class="spec-columns">
        <thead>
          <tr>
            <th scope="col">Column</th>
            <th scope="col">Comes from</th>
            <th scope="col">Gives a value</th>
            <th scope="col">For example</th>
          </tr>
        </thead>
        <tbody>
          {spec.columns
            .filter((column) => !column.provided)
            .map((column) => (
              <ColumnRow key={column.name} column={column} sample={byName.get(column.name)} />
            ))}
        </tbody>
      </table>
    </div>
  );
}

function ColumnRow({ column, sample }: { column: Column; sample: Sample | undefined }): VNode {
  const total = sample ? sample.values + sample.missing + sample.refused : 0;
  const never = total > 0 && sample?.values === 0;
  return (
    <tr class={never ? "never" : ""}>
      <th scope="row">
        <code>{column.name}</code>
        <p class="quiet-text">
          {[
            column.type,
            column.key ? "key" : "",
            column.required ? "required" : "",
            column.operators.length ? "filter" : "",
            column.on_missing === "clear" ? "cleared when missing" : "",
          ]
            .filter(Boolean)
            .join(", ")}
        </p>
        {column.description && <p class="quiet-text description">{renderInline(column.description)}</p>}
      </th>
      <td>
        {column.coalesce && column.coalesce.length > 0 ? (
          <p>
            the first of <code>{column.coalesce.join(", ")}</code>
          </p>
        ) : (
          joinSources(column).map(({ path, operations }) => (
            <p key={path}>
              <code class="path">{path}</code>
              {operations && <span class="quiet-text">{` in ${operations}`}</span>}
            </p>
          ))
        )}
        {normalizersOf(column) && <p class="quiet-text">{`then ${normalizersOf(column)}`}</p>}
      </td>
      <td>
        {sample && total > 0 ? (
          <>
            <Share count={sample.values} total={total} tone={never ? "bad" : ""} />
            {never && <p class="never-note">This path never gave a value: is it right?</p>}
            {sample.refused > 0 && <p class="quiet-text">{`${formatCount(sample.refused)} refused`}</p>}
          </>
        ) : (
          <span class="none">–</span>
        )}
      </td>
      <td class="examples">
        {sample?.examples.map((example) => (
          <p key={example.step_result_id + example.value}>
            <Link to={["steps", example.step_result_id]}>{shortenText(example.value)}</Link>
          </p>
        ))}
      </td>
    </tr>
  );
}

function shortenText(text: string): string {
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}

/** Return the distinct paths of a column, each with the operations that use it. */
function joinSources(column: Column): { path: string; operations: string }[] {
  const byPath = new Map<string, string[]>();
  for (const source of column.sources) {
    const path = source.path ?? "";
    byPath.set(path, [...(byPath.get(path) ?? []), source.operation]);
  }
  return [...byPath].map(([path, operations]) => ({ path, operations: byPath.size > 1 ? operations.join(", ") : "" }));
}

function normalizersOf(column: Column): string {
  return [...new Set(column.sources.map((source) => source.normalizers.map(humanize).join(", ").toLowerCase()))]
    .filter(Boolean)
    .join(" or ");
}
