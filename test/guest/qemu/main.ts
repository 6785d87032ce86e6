import { SwarmError } from "@starling/base";
import { buildImages } from "../../images/index.ts";
import { testInGuest } from "./guest.ts";

/** What needs more of a kernel than machines for tests may have: ipvlan, SCTP. */
const files = process.argv.length > 2 ? process.argv.slice(2) : ["test/e2e/network-kinds.e2e.test.ts"];

try {
  // The guest reaches no network.
  await buildImages();
  process.exitCode = await testInGuest({
    files,
    onOutput: (text) => process.stdout.write(text),
    timeoutMs: 60 * 60_000,
  });
} catch (error) {
  console.error(SwarmError.from(error).message);
  process.exitCode = 1;
}
