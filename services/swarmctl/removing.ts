import { SwarmError } from "@starling/base/errors";
import type { Command, FlagDefinition } from "./command.ts";
import type { Context } from "./context.ts";

/** `rm` of a noun: every argument is tried; each removed one is printed, the failures end the command. */
export function removing<F = object>(noun: {
  readonly argument: string;
  readonly flags?: readonly FlagDefinition[];
  remove(context: Context, reference: string, flags: F): Promise<void>;
}): Command<F> {
  return {
    arguments: noun.argument,
    flags: noun.flags ?? [],
    async run(context, args, flags) {
      await forEach(context, args, (reference) => noun.remove(context, reference, flags));
    },
  };
}

/** Does `act` for every reference, printing each that succeeded. Throws the only failure, or all of them in one line. */
export async function forEach(
  context: Context,
  references: readonly string[],
  act: (reference: string) => Promise<void>,
): Promise<void> {
  const failures: SwarmError[] = [];
  for (const reference of references) {
    try {
      await act(reference);
      context.out(`${reference}\n`);
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
