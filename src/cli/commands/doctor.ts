/** `imgfs doctor`: look at everything a mount needs, and say what to do about what is missing. */
import { exitCodes } from '../../errors/codes.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { checkMachine, type Finding } from '../doctor/checks.js';
import { styled, type Style } from '../output.js';
import { settingsFrom, storeOptions } from '../settings.js';

const marks: Readonly<Record<Finding['state'], { text: string; style: Style }>> = {
  ok: { text: 'ok  ', style: 'green' },
  note: { text: 'note', style: 'dim' },
  warning: { text: 'warn', style: 'yellow' },
  failure: { text: 'FAIL', style: 'red' },
};

async function run(args: Arguments, { out }: CommandContext): Promise<number> {
  const findings = await checkMachine(settingsFrom(args));
  const failed = findings.some((finding) => finding.state === 'failure');
  if (out.json) {
    out.document({ usable: !failed, findings });
  } else {
    for (const { state, subject, detail, nextStep } of findings) {
      const { text, style } = marks[state];
      out.line(`${styled(text, style, out.color)}  ${subject}: ${detail}`);
      if (nextStep !== undefined) out.line(`      next step: ${nextStep}`);
    }
  }
  return failed ? exitCodes.mountUnavailable : exitCodes.ok;
}

export const doctorCommand: Command = {
  usage: 'doctor',
  examples: [['imgfs doctor', 'what is missing here, and the command that mends it']],
  options: storeOptions,
  run,
};
