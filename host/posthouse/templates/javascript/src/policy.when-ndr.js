// The exports of the component: the interfaces of its world.
import { lifecycleOf } from './lifecycle.js';
import * as role from './ndr.js';

export const lifecycle = lifecycleOf(role);
export { ndr } from './ndr.js';
