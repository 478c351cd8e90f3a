import { createContext } from 'preact';
import { useContext } from 'preact/hooks';
import type { Settings } from './types';

export const SettingsContext = createContext<Settings>({ actions: [] });

/** The settings of the server: which actions operators may do. */
export const useSettings = (): Settings => useContext(SettingsContext);
