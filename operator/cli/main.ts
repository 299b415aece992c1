import { Command, CommanderError } from "commander";
import { plainMessage } from "../chain/plain-message.ts";
import { channelCommand } from "./channel.ts";
import { chatCommand } from "./chat.ts";
import { claimCommand, earningsCommand } from "./earnings.ts";
import { engineCommand } from "./engine.ts";
import { EXIT, exitCodeOf } from "./exit-codes.ts";
import { initCommand } from "./init.ts";
import { operatorCommand } from "./operator.ts";
import { proxyCommand } from "./proxy.ts";
import { dataNetCommand, registerCommand } from "./register.ts";
import { trainCommand } from "./train.ts";
import { verifyCommand } from "./verify.ts";
import { walletCommand } from "./wallet.ts";
import { watchCommand } from "./watch.ts";

const program = new Command("openledger")
  .description("Serve, pay and verify specialised models whose contributors are paid.")
  .showHelpAfterError("(add --help for the options)")
  .exitOverride();
program.addCommand(engineCommand());
program.addCommand(trainCommand());
program.addCommand(walletCommand());
program.addCommand(registerCommand());
program.addCommand(dataNetCommand());
program.addCommand(channelCommand());
program.addCommand(earningsCommand());
program.addCommand(claimCommand());
program.addCommand(chatCommand());
program.addCommand(proxyCommand());
program.addCommand(initCommand());
program.addCommand(operatorCommand());
program.addCommand(watchCommand());
program.addCommand(verifyCommand());

// Whoever reads our output may stop doing so: `openledger ... | head -1`.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? EXIT.ok : EXIT.failed);
});

try {
  for (const command of program.commands) inherit(command);
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has said what it had to say.
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  } else {
    console.error(`openledger: ${plainMessage(error)}`);
    process.exitCode = exitCodeOf(error);
  }
}

/** Settings of the program hold for commands that were built apart from it. */
function inherit(command: Command): void {
  command.copyInheritedSettings(command.parent ?? program);
  for (const child of command.commands) inherit(child);
}
