import { open } from 'node:fs/promises';

const pieceBytes = 1024 * 1024;

/** Read a file to its end in pieces of 1 MiB, as `cat` does; resolves to its length. */
export async function drain(path: string): Promise<number> {
  const file = await open(path, 'r');
  const buffer = Buffer.allocUnsafe(pieceBytes);
  try {
    for (let total = 0; ;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) return total;
      total += bytesRead;
    }
  } finally {
    await file.close();
  }
}
