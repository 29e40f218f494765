/** What nodes are: entries of layers. Hard links are nodes with the same inode. */
import { ColumnTable } from '../index/columns.js';
import type { Turns } from '../turns.js';

const shape = { row: 'u32', nlink: 'u32', layer: 'u16', directory: 'u8' } as const;

/** The layer of a directory that no layer has an entry for. */
export const implicitLayer = 0xffff;

export class InodeTable {
  private readonly table: ColumnTable<typeof shape>;

  /** Room is made for `expected` inodes. */
  constructor(expected = 0) {
    this.table = new ColumnTable(shape, expected);
  }

  get count(): number {
    return this.table.count;
  }

  add(layer: number, row: number, isDirectory: boolean): number {
    const inode = this.table.add();
    const { columns } = this.table;
    columns.layer[inode] = layer;
    columns.row[inode] = row;
    columns.directory[inode] = isDirectory ? 1 : 0;
    columns.nlink[inode] = 0;
    return inode;
  }

  /** A directory was described again: the newest entry holds. */
  describe(inode: number, layer: number, row: number): void {
    this.table.columns.layer[inode] = layer;
    this.table.columns.row[inode] = row;
  }

  isDirectory(inode: number): boolean {
    return this.table.columns.directory[inode] === 1;
  }

  layer(inode: number): number {
    return this.table.columns.layer[inode] ?? implicitLayer;
  }

  row(inode: number): number {
    return this.table.columns.row[inode] ?? 0;
  }

  nlink(inode: number): number {
    return this.table.columns.nlink[inode] ?? 0;
  }

  /** Nothing will be added: give back spare memory. */
  async seal(turns: Turns): Promise<void> {
    await this.table.trim(turns);
  }

  addLinks(inode: number, count: number): void {
    this.table.columns.nlink[inode] = this.nlink(inode) + count;
  }
}
