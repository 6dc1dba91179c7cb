// The exports of the component: the interfaces of its world.
import { lifecycleOf } from './lifecycle.js';
import * as role from './exemption.js';

export const lifecycle = lifecycleOf(role);
export { exemption } from './exemption.js';
