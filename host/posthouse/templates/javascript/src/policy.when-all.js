// The exports of the component: the interfaces of its world.
import { lifecycleOf } from './lifecycle.js';
import * as admission from './exemption.js';
import * as mail from './homing.js';
import * as notices from './ndr.js';

export const lifecycle = lifecycleOf(admission, mail, notices);
export { exemption } from './exemption.js';
export { homing } from './homing.js';
export { ndr } from './ndr.js';
