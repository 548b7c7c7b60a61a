/** A table described by its columns: each has a heading, and a function that renders its cell for a row. */
import type { ComponentChildren, VNode } from "preact";

export interface TableColumn<Row> {
  heading: string;
  renderCell: (row: Row) => ComponentChildren;
  /** `number` aligns heading and cells to the right; `message` limits the width of the cells. */
  kind?: "number" | "message";
}

interface DataTableProps<Row> {
  /** The name of the table for screen readers. */
  label: string;
  columns: TableColumn<Row>[];
  rows: Row[];
  getKey: (row: Row) => string;
}

/** Show a table with a header row; it scrolls sideways on narrow screens. */
export function DataTable<Row>({ label, columns, rows, getKey }: DataTableProps<Row>): VNode {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            {columns.map(({ heading, kind }) => (
              <th key={heading} scope="col" class={kind === "number" ? kind : undefined}>
                {heading}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={getKey(row)}>
              {columns.map(({ heading, renderCell, kind }) => (
                <td key={heading} class={kind}>
                  {renderCell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
