import { SwarmError } from "@starling/base/errors";
import { removeOnce } from "./client/certain.ts";
import type { Command, FlagDefinition } from "./command.ts";
import type { Context } from "./context.ts";

/** `rm` of a noun: every argument is tried; each removed one is printed, the failures end the command. */
export function removing<F = object>(noun: {
  readonly argument: string;
  readonly flags?: readonly FlagDefinition[];
  /** Finds the object; what is returned removes it, and may be called again. */
  find(context: Context, reference: string, flags: F): Promise<() => Promise<unknown>>;
}): Command<F> {
  return {
    arguments: noun.argument,
    flags: noun.flags ?? [],
    async run(context, args, flags) {
      await forEach(context, args, async (reference) => {
        const remove = await noun.find(context, reference, flags);
        await removeOnce(context, remove);
      });
    },
  };
}

/** Does `act` for every reference, printing each that succeeded. Throws the only failure, or all of them in one line. */
export async function forEach(
  context: Context,
  references: readonly string[],
  act: (reference: string) => Promise<void>,
): Promise<void> {
  await forEachQuietly(references, async (reference) => {
    await act(reference);
    context.out(`${reference}\n`);
  });
}

/** As forEach, leaving it to `act` what is printed. */
export async function forEachQuietly(
  references: readonly string[],
  act: (reference: string) => Promise<void>,
): Promise<void> {
  const failures: SwarmError[] = [];
  for (const reference of references) {
    try {
      await act(reference);
    } catch (thrown) {
      failures.push(SwarmError.from(thrown));
    }
  }
  const [first] = failures;
  if (first === undefined) return;
  throw failures.length === 1
    ? first
    : new SwarmError(first.code, failures.map(({ message }) => message).join("; "), { cause: first });
}
