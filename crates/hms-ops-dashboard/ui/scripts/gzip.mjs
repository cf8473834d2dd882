// Writes a .gz beside each text asset of dist/, and fails when the page outgrows its budget.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const BUDGET_BYTES = 60_000; // script and style sheet, compressed
const TEXT = new Set([".html", ".js", ".css", ".svg", ".json", ".txt"]);
const dist = fileURLToPath(new URL("../../dist", import.meta.url));

let codeBytes = 0;
for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  const kind = extname(entry.name);
  if (!entry.isFile() || !TEXT.has(kind)) continue;
  const path = join(entry.parentPath, entry.name);
  const plain = readFileSync(path);
  const packed = gzipSync(plain, { level: 9 });
  writeFileSync(`${path}.gz`, packed);
  if (kind === ".js" || kind === ".css") codeBytes += packed.length;
  console.log(`${entry.name}  ${plain.length} B, ${packed.length} B compressed`);
}
console.log(`script and style: ${codeBytes} B compressed, budget ${BUDGET_BYTES} B`);
if (codeBytes > BUDGET_BYTES) {
  console.error("the page is over its budget");
  process.exit(1);
}
