// The exports of the component: the interfaces of its world.
import { lifecycleOf } from './lifecycle.js';
import * as role from './homing.js';

export const lifecycle = lifecycleOf(role);
export { homing } from './homing.js';
