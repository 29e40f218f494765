import { driverSuite } from './driver-suite.js';
import { writingSuite } from './writing-suite.js';

driverSuite('fuse-native');
writingSuite('fuse-native');
