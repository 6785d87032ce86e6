/** Pure: no clock, no I/O, no randomness. */

const gap = "   ";

/** Rows under a heading, columns as wide as their widest cell, no blanks at line ends. */
export function formatTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heading.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  return [heading, ...rows]
    .map((row) =>
      row
        .map((cell, column) => cell.replace(/[\r\n]+/g, " ").padEnd(widths[column]!))
        .join(gap)
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join("");
}

/** A line of `formatFields`: key, value, level of nesting. */
export type Field = readonly [key: string, value: string | number | undefined, level?: number];

/** `Key: value` lines; nested by a blank per level; entries whose value is undefined are left out, "" gives a heading. */
export function formatFields(fields: readonly Field[]): string {
  return fields
    .filter(([, value]) => value !== undefined)
    .map(([key, value, level = 0]) => `${`${" ".repeat(level)}${key}:`.padEnd(18)} ${value}`.trimEnd())
    .map((line) => `${line}\n`)
    .join("");
}
