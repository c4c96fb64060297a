// Whether the committed dashboards are what the sources give, and what differs.

/** Both texts are the same file: the line where they part, with the lines of either side. */
function firstDifference(committed: string, made: string): string {
  const left = committed.split('\n');
  const right = made.split('\n');
  let line = 0;
  while (left[line] === right[line]) {
    line += 1;
  }
  const text = (lines: string[]): string => lines[line]?.trim() ?? 'the end of the file';
  return `line ${line + 1}: committed is \`${text(left)}\`, the sources give \`${text(right)}\``;
}

/** One message for each file that is missing, left over, or not what the sources give. */
export function differences(committed: Map<string, string>, made: Map<string, string>): string[] {
  const missing = [...made.keys()]
    .filter((path) => !committed.has(path))
    .map((path) => `${path}: the sources give it, but it is not there; \`npm run build\` writes it`);
  const found = [...committed].flatMap(([path, text]) => {
    const expected = made.get(path);
    if (expected === undefined) {
      return [`${path}: no source gives it`];
    }
    return expected === text ? [] : [`${path}: ${firstDifference(text, expected)}; \`npm run build\` writes it`];
  });
  return [...missing, ...found];
}
