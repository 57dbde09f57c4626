/**
 * Lines of a table in plain text, columns as wide as needed.
 *
 * @param rows the first is the heading; all of one length
 * @param leftColumns so many of the first columns are aligned left (words), the others right (numbers)
 */
export function textTable(rows: readonly (readonly string[])[], leftColumns: number): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    rows.reduce((widest, row) => Math.max(widest, row[column]?.length ?? 0), 0),
  );
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column < leftColumns ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
}
