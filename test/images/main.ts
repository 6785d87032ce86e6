import { SwarmError } from "@starling/base";
import { buildImages } from "./build.ts";
import { ensureImages } from "./push.ts";

const usage = "usage: node test/images/main.ts build | push http://HOST:PORT";

/** `build` fills the cache; `push URL` also fills a registry. Prints the references. */
async function main([verb, url]: readonly string[]): Promise<void> {
  if (verb === "build" && url === undefined) {
    for (const { repository, digest } of Object.values(await buildImages())) console.log(`${repository}@${digest}`);
  } else if (verb === "push" && url !== undefined) {
    for (const { reference, digest } of Object.values(await ensureImages(url))) console.log(`${reference} ${digest}`);
  } else {
    throw new SwarmError("InvalidArgument", usage);
  }
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(SwarmError.from(error).message);
  process.exitCode = 1;
});
