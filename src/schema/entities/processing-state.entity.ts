import { Check, Column, Entity, PrimaryColumn } from 'typeorm';
import { Named } from './named.js';

/** Whether workers claim jobs: the one row of `processing_state`. */
@Named('ProcessingState')
@Entity({ name: 'processing_state' })
@Check('chk_processing_state_only_row', '"onlyRow"')
export class ProcessingState {
  /** Always true, so that there is no second row. */
  @PrimaryColumn({
    name: 'onlyRow',
    type: 'boolean',
    default: true,
    primaryKeyConstraintName: 'pk_processing_state',
  })
  onlyRow!: boolean;

  /** The time since when processing is paused; null if it is not. */
  @Column({ name: 'pausedAt', type: 'timestamptz', precision: 3, nullable: true })
  pausedAt!: Date | null;

  /** The reason that the caller of `pauseProcessing` gave. */
  @Column({ name: 'reason', type: 'text', nullable: true })
  reason!: string | null;
}
