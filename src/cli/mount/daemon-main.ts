/**
 * The daemon's own entry: settings on stdin, the answer on descriptor 3, then serving until the end. It loads no
 * command line: what is not in memory needs no bound.
 */
import '../lean-parser.js';
import { closeSync, writeSync } from 'node:fs';
import { preferThisThread } from '../../addon/prefer-thread.js';
import { exitCodeOf } from '../../errors/errno.js';
import { ImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import { packageVersion } from '../package-version.js';
import { signalOfProcess } from '../signal.js';
import type { MountSettings, ReadyMessage } from './mount-settings.js';
import { serve } from './serve.js';

/** Descriptor on which the parent waits for an answer. */
const readyDescriptor = 3;

/** Settings are a few kilobytes; more is a mistake. */
const maxSettingsBytes = 1024 * 1024;

async function settingsFromStdin(): Promise<MountSettings> {
  let text = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) {
    text += String(chunk);
    if (text.length > maxSettingsBytes) throw new ImgfsError('usage', 'settings on stdin are too long');
  }
  return JSON.parse(text) as MountSettings;
}

/** One line to the parent; a parent that is gone does not matter any more. */
function answerParent(message: ReadyMessage): void {
  try {
    writeSync(readyDescriptor, `${JSON.stringify(message)}\n`);
    closeSync(readyDescriptor);
  } catch {
    // The parent gave up waiting: the mount is up all the same.
  }
}

try {
  const signal = signalOfProcess();
  const settings = await settingsFromStdin();
  process.title = `imgfs mount ${settings.mountPoint}`;
  process.chdir('/');
  preferThisThread(true);
  await serve(settings, { signal, version: packageVersion() }, (ready) =>
    answerParent({ ok: true, ...ready }),
  );
} catch (error) {
  const { code, message, hint } = toImgfsError(error);
  answerParent({ ok: false, code, message, hint });
  process.exitCode = exitCodeOf(error);
}
