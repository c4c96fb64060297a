// Makes the committed files in assets/: `build` writes them, `check` compares them with what the sources make now, `test` runs the tests of the parts that
// need no browser. The files are compressed; compared is what is in them, because two versions of zlib may compress differently.

import { build } from "esbuild";
import { readFile, readdir, writeFile, mkdir } from "node:fs/promises";
import { spawnSync } from "node:child_process";
import { gzipSync, gunzipSync, constants } from "node:zlib";
import { fileURLToPath } from "node:url";
import { join } from "node:path";

const here = fileURLToPath(new URL(".", import.meta.url));
// What is bundled: its licence texts travel with it.
const bundled = ["preact", "uplot"];

async function licences() {
  const parts = ["The window of lgtm-devstack contains:\n"];
  for (const name of bundled) {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((file) => /^licen[cs]e/i.test(file));
    const text = await readFile(join(folder, file), "utf8");
    parts.push(`${"-".repeat(72)}\n${name} ${version} (${license})\n\n${text.trim()}\n`);
  }
  return parts.join("\n");
}

async function files() {
  const outcome = await build({
    entryPoints: [join(here, "src/window.tsx"), join(here, "src/theme.ts"), join(here, "src/window.css")],
    bundle: true,
    minify: true,
    write: false,
    outdir: here,
    format: "esm",
    target: "es2022",
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    charset: "utf8",
    logLevel: "warning",
  });
  const built = (name) => outcome.outputFiles.find((file) => file.path.endsWith(name)).text;
  return {
    "index.html": await readFile(join(here, "src/index.html"), "utf8"),
    "icon.svg": await readFile(join(here, "src/icon.svg"), "utf8"),
    "theme.js": built("theme.js"),
    "window.js": built("window.js"),
    "window.css": built("window.css"),
    "licences.txt": await licences(),
  };
}

function compressed(text) {
  const bytes = gzipSync(text, { level: constants.Z_BEST_COMPRESSION });
  // Neither a time nor a system is named.
  bytes[9] = 255;
  return bytes;
}

async function write() {
  await mkdir(join(here, "assets"), { recursive: true });
  for (const [name, text] of Object.entries(await files())) {
    const bytes = compressed(text);
    await writeFile(join(here, "assets", `${name}.gz`), bytes);
    console.log(`${name}: ${text.length} characters, ${bytes.length} bytes compressed`);
  }
}

async function check() {
  const made = await files();
  const wrong = [];
  for (const [name, text] of Object.entries(made)) {
    const stored = await readFile(join(here, "assets", `${name}.gz`)).then(gunzipSync, () => Buffer.from(""));
    if (stored.toString() !== text) wrong.push(`assets/${name}.gz is not what the sources make`);
  }
  for (const file of await readdir(join(here, "assets"))) {
    if (!(file.replace(/\.gz$/, "") in made)) wrong.push(`assets/${file} is made by no source`);
  }
  if (wrong.length > 0) throw new Error(wrong.join("; "));
}

async function test() {
  await build({
    entryPoints: (await readdir(join(here, "tests"))).map((file) => join(here, "tests", file)),
    bundle: true,
    platform: "node",
    format: "esm",
    outdir: join(here, "build/tests"),
    logLevel: "warning",
  });
  const { status } = spawnSync(process.execPath, ["--test", "build/tests/"], { cwd: here, stdio: "inherit" });
  process.exitCode = status ?? 1;
}

const commands = { build: write, check, test };
const command = commands[process.argv[2]];
if (!command) throw new Error(`accepted: ${Object.keys(commands).join(", ")}`);
await command().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
