// The exports of the component: the interfaces of its world.
export { lifecycle } from './lifecycle.js';
export { homing } from './homing.js';
