#!/usr/bin/env node
import { ExitCode } from './exit_code.js';

// A reader that has seen enough (`selvage routes | head`) is no fault; a disk that is full is one.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') return;
  process.stderr.write(`selvage: standard output cannot be written: ${error.message}\n`);
  process.exit(ExitCode.failed);
});

try {
  // Not a static import: the addon is loaded by it, and failing to is an error of one line like any other.
  const { main } = await import('./commands.js');
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const { code } = error as { code?: unknown };
  const usage = code === 'ERR_USAGE' || code === 'ERR_OPTION';
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(
    `selvage: ${message.split('\n').join(' ')}${usage ? " (see 'selvage --help')" : ''}\n`,
  );
  process.exitCode = usage ? ExitCode.usage : ExitCode.failed;
}
