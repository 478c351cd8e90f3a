import { createContext } from 'preact';
import { useContext } from 'preact/hooks';
import type { Settings } from './types';

export const SettingsContext = createContext<Settings>({ actions: [] });

/** What the server lets operators do. */
export const useSettings = (): Settings => useContext(SettingsContext);
